// The command line. The only process.exit; each command is imported when it is asked for.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command, CommanderError, InvalidArgumentError } from 'commander'
import { addOperatorCommands } from './commands/operator_cli.ts'
import type { Config } from './config/config.ts'

const EXIT = { usage: 64, config: 78, failed: 1 } as const
const print = (line: string): void => void process.stdout.write(`${line}\n`)
const complain = (line: string): void => void process.stderr.write(`${line}\n`)

const opaPlaces = () => ({
  named: process.env['DEPUTY_OPA'],
  path: process.env['PATH'],
  home: process.env['HOME'],
})
const percent = (text: string): number => {
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0 && value <= 100))
    throw new InvalidArgumentError('It must be a number from 0 to 100.')
  return value
}
/** A folder or file that ships with deputy; `config/load` says the same for what it reads. */
const shipped = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url))

const version = (): string => {
  const parsed: unknown = JSON.parse(
    readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
  )
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed
    ? String(parsed.version)
    : 'unknown'
}

/** Loads the configuration or prints every problem. */
const loaded = async (flag: string | undefined) => {
  const { load } = await import('./config/load.ts')
  const result = load(flag, process.env)
  if ('loaded' in result) return result.loaded
  const { ringProblems } = await import('./reload.ts')
  const problems = [...result.problems, ...(result.rest === null ? [] : ringProblems(result.rest))]
  complain(
    `${result.path ?? 'deputy'}: ${problems.length} problem${problems.length === 1 ? '' : 's'}`,
  )
  for (const problem of problems) complain(`  ${problem}`)
  return null
}

/** The configuration as it may be shown: secrets print as such, a password inside a URL does not. */
const shownConfig = async (config: Config): Promise<unknown> => {
  const { withoutPassword } = await import('./config/config.ts')
  const vault = { ...config.vault, store: withoutPassword(config.vault.store) }
  return JSON.parse(JSON.stringify({ ...config, vault }))
}

const serveCommand = async (options: { readonly config?: string }): Promise<number> => {
  const from = await loaded(options.config)
  if (from === null) return EXIT.config
  // Files that hold secrets are for this user alone; a crash must not write memory to disk.
  process.umask(0o077)
  const { createLog } = await import('./observe/log.ts')
  const log = createLog({
    level: from.config.telemetry.log_level,
    destination: 2,
    name: 'deputy',
    version: version(),
  })
  const { serve } = await import('./serve.ts')
  let serving: Awaited<ReturnType<typeof serve>>
  try {
    serving = await serve(from, { log, print: complain, version: version() })
  } catch (error) {
    complain(`deputy does not start:`)
    for (const line of (error instanceof Error ? error.message : String(error)).split('\n'))
      complain(`  ${line}`)
    return EXIT.config
  }
  for (const [name, address] of Object.entries(serving.addresses)) complain(`${name}: ${address}`)
  complain('deputy is ready')
  return new Promise((resolve) => {
    let ending = false
    const end = (signal: NodeJS.Signals, code: number) => () => {
      if (ending) process.exit(code)
      ending = true
      log.info({ signal }, 'deputy stops')
      serving.close().then(
        () => resolve(0),
        (error: unknown) => {
          log.error({ err: error }, 'stopping failed')
          resolve(EXIT.failed)
        },
      )
    }
    process.on('SIGTERM', end('SIGTERM', 143))
    process.on('SIGINT', end('SIGINT', 130))
    // A fault that nobody expected: say so and end; what was allowed and is open is closed at the next start.
    process.on('uncaughtException', (error) => {
      log.error({ err: error }, 'uncaught')
      process.exit(EXIT.failed)
    })
  })
}

const program = (done: (code: number) => void): Command => {
  const deputy = new Command('deputy')
    .description(
      'A policy-enforcing proxy: an AI agent acts as its user without ever holding the user’s credentials.',
    )
    .exitOverride()
    .showHelpAfterError('(deputy --help lists the commands)')
  const config = [
    '--config <file>',
    'configuration file (else DEPUTY_CONFIG, ./deputy.yaml, /etc/deputy/deputy.yaml)',
  ] as const
  const command = (parent: Command, name: string, text: string): Command =>
    parent.command(name).description(text).exitOverride()

  command(deputy, 'serve', 'run the proxy')
    .option(...config)
    .action(async (options: { config?: string }) => done(await serveCommand(options)))
  command(
    deputy,
    'init',
    'write a first configuration, keys and the starter policy; nothing is overwritten',
  )
    .option('--provider <id>', 'the provider of the first connection', 'github')
    .option('--dir <folder>', 'where to write', '.')
    .action(async (options: { provider: string; dir: string }) =>
      done(await (await import('./commands/init.ts')).init({ ...options, print, complain })),
    )
  command(
    deputy,
    'validate',
    'check the configuration and everything that it names; print every problem',
  )
    .option(...config)
    .action(async (options: { config?: string }) => {
      const from = await loaded(options.config)
      done(
        from === null
          ? EXIT.config
          : await (
              await import('./commands/validate.ts')
            ).validate({ loaded: from, print, complain }),
      )
    })
  command(deputy, 'print-config', 'print the effective configuration, secrets left out')
    .option(...config)
    .option('--schema', 'print the JSON Schema of the configuration instead')
    .action(async (options: { config?: string; schema?: boolean }) => {
      if (options.schema === true) {
        const { configJsonSchema } = await import('./config/config.ts')
        print(JSON.stringify(configJsonSchema(), null, 2))
        return done(0)
      }
      const from = await loaded(options.config)
      if (from !== null) print((await import('yaml')).stringify(await shownConfig(from.config)))
      return done(from === null ? EXIT.config : 0)
    })
  command(deputy, 'keygen', 'make a key ring')
    .option('--out <file>', 'where to write it', 'keys.json')
    .action(async (options: { out: string }) =>
      done(await (await import('./commands/keys.ts')).keygen({ ...options, print })),
    )
  const keys = deputy.command('keys').description('the key ring of the vault').exitOverride()
  command(keys, 'rotate', 'seal everything anew under a new key, also while deputy serves')
    .option(...config)
    .option('--retire', 'add no key: remove the keys that nothing is sealed under any more')
    .action(async (options: { config?: string; retire?: boolean }) => {
      const from = await loaded(options.config)
      const retire = options.retire === true
      done(
        from === null
          ? EXIT.config
          : await (
              await import('./commands/keys.ts')
            ).keysRotate({ loaded: from, retire, print, complain }),
      )
    })
  command(deputy, 'version', 'print the version')
    .option('--json', 'as JSON')
    .action((options: { json?: boolean }) => {
      print(
        options.json === true
          ? JSON.stringify({ version: version(), node: process.version })
          : version(),
      )
      done(0)
    })

  const policy = deputy
    .command('policy')
    .description('build and test the Rego of policies/')
    .exitOverride()
  command(
    policy,
    'build',
    'compile policies/ to policies/bundle.tar.gz, byte for byte reproducible, and ask it its probes',
  )
    .option('--out <file>', 'where to write it')
    .option('--check', 'compare a rebuild with the committed bundle instead of writing')
    .action(async (options: { out?: string; check?: boolean }) =>
      done(
        await (
          await import('./commands/policy.ts')
        ).policyBuild({ ...options, root: process.cwd(), places: opaPlaces(), print }),
      ),
    )
  command(
    policy,
    'test',
    'format check, type check against the schemas, unit tests and what they cover',
  )
    .option('--coverage <percent>', 'fail when the tests cover less', percent)
    .action(async (options: { coverage?: number }) =>
      done(
        await (
          await import('./commands/policy.ts')
        ).policyTest({ ...options, root: process.cwd(), places: opaPlaces(), print }),
      ),
    )

  const providers = deputy.command('providers').description('provider definitions').exitOverride()
  command(providers, 'list', 'list the definitions that ship with deputy').action(async () =>
    done(
      (await import('./commands/providers.ts')).providersList({ print, dir: shipped('providers') }),
    ),
  )
  command(
    providers,
    'test',
    'run a definition against a scripted provider that misbehaves in every way that applies',
  )
    .argument('<id>')
    .option('--file <file>', 'a definition of your own; it may extend a shipped one')
    .action(async (id: string, options: { file?: string }) =>
      done(
        await (
          await import('./commands/quirks/command.ts')
        ).providersTest({ id, ...options, print, dir: shipped('providers') }),
      ),
    )
  command(providers, 'show', 'print one definition')
    .argument('<id>')
    .action(async (id: string) =>
      done(
        (await import('./commands/providers.ts')).providersShow({
          id,
          print,
          dir: shipped('providers'),
        }),
      ),
    )

  const connect = deputy.command('connect').description('the pages that people see').exitOverride()
  command(connect, 'code', 'print the one-time code of `sign_in: local`')
    .option(...config)
    .action(async (options: { config?: string }) => {
      const from = await loaded(options.config)
      done(
        from === null
          ? EXIT.config
          : (await import('./commands/local.ts')).connectCode({ at: from.at, print, complain }),
      )
    })

  addOperatorCommands(deputy, command, done, {
    token: process.env['DEPUTY_OPERATOR_TOKEN'],
    load: loaded,
    print,
    complain,
  })

  const audit = deputy.command('audit').description('the evidence').exitOverride()
  command(
    audit,
    'verify',
    'prove that no line was changed, removed, inserted or reordered up to the last anchor',
  )
    .argument('[file]', 'the evidence file', 'audit.jsonl')
    .option('--keys <file>', 'key ring that signed the anchors')
    .option(
      '--anchors <file>',
      'a copy of the evidence that you hold elsewhere: its anchors must be found',
    )
    .action(async (file: string, options: { keys?: string; anchors?: string }) =>
      done(await (await import('./commands/audit.ts')).auditVerify({ file, ...options, print })),
    )
  return deputy
}

/** Runs one command and ends the process with its exit code. */
export const run = async (argv: readonly string[]): Promise<void> => {
  let code = EXIT.usage as number
  const command = program((result) => (code = result))
  if (argv.length === 0) {
    complain(command.helpInformation())
    process.exit(EXIT.usage)
  }
  try {
    await command.parseAsync(argv, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) code = error.exitCode === 0 ? 0 : EXIT.usage
    else {
      complain(`deputy failed: ${error instanceof Error ? error.message : String(error)}`)
      code = EXIT.failed
    }
  }
  process.exit(code)
}
