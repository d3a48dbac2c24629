// The command line. The only process.exit; each command is imported when it is asked for.
import { readFileSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, CommanderError } from 'commander'
import { addAuditCommands, whole } from './commands/audit_cli.ts'
import { addOperatorCommands } from './commands/operator_cli.ts'
import { addVaultCommands } from './commands/vault_cli.ts'
import { addPolicyCommands } from './commands/policy_cli.ts'
import { showAs } from './commands/why/cli.ts'
import type { HealthOptions } from './commands/healthz.ts'
import type { Config } from './config/schema.ts'
import { stuck } from './files.ts'
import { messageOf } from './problem.ts'

const EXIT = { usage: 64, config: 78, failed: 1 } as const
const print = (line: string): void => void process.stdout.write(`${line}\n`)
const complain = (line: string): void => void process.stderr.write(`${line}\n`)

/** An ordinary exit waits for the threads that a dead mount keeps; to become another program does not. */
const leave = (code: number): never => {
  if (stuck()) process.execve?.(process.execPath, [process.execPath, '-e', `process.exit(${code})`])
  process.exit(code)
}

const opaPlaces = () => ({
  named: process.env['DEPUTY_OPA'],
  path: process.env['PATH'],
  home: process.env['HOME'],
})
type SelftestFlags = {
  readonly deputy?: string
  readonly uid?: number
  readonly port?: readonly number[]
  readonly target?: readonly string[]
  readonly resolver?: readonly string[]
  readonly file?: readonly string[]
  readonly allow?: readonly string[]
}
const wholes = (text: string, before: readonly number[] = []): readonly number[] => [
  ...before,
  whole(text),
]
/** Where `deputy login` keeps a sign-in, by the XDG base directories. */
const loginFile = (): string => {
  const { DEPUTY_LOGIN_FILE: named, XDG_CONFIG_HOME: base = '', HOME: home = '' } = process.env
  if (named !== undefined && named !== '') return named
  return join(
    isAbsolute(base) ? base : join(home === '' ? '/nonexistent' : home, '.config'),
    'deputy/login.json',
  )
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
  const result = await load(flag, process.env)
  if ('loaded' in result) return result.loaded
  const { ringProblems } = await import('./compose/snapshot.ts')
  const problems = [
    ...result.problems,
    ...(result.rest === null ? [] : await ringProblems(result.rest)),
  ]
  complain(
    `${result.path ?? 'deputy'}: ${problems.length} problem${problems.length === 1 ? '' : 's'}`,
  )
  const { located } = await import('./config/lines.ts')
  for (const problem of await located(result.path ?? '', problems)) complain(`  ${problem}`)
  return null
}

/** The configuration as it may be shown: secrets print as such, a password inside a URL does not. */
const shownConfig = async (config: Config): Promise<unknown> => {
  const { withoutPassword } = await import('./config/schema.ts')
  const vault = { ...config.vault, store: withoutPassword(config.vault.store) }
  return JSON.parse(JSON.stringify({ ...config, vault }))
}

/** Drain, then end; the second one ends at once, with this exit code. */
const STOPPING = { SIGTERM: 143, SIGINT: 130, SIGQUIT: 131 } as const
/**
 * They end a process unless somebody listens, and mean nothing here. Left out are those that cannot be caught, those that
 * Node ignores (SIGPIPE, SIGXFSZ), and faults of the process itself (SIGABRT, SIGSEGV, SIGTRAP and theirs), which must end it.
 */
const IGNORED = [
  'SIGUSR1', // Node would open its inspector, which reads memory and files
  'SIGUSR2',
  'SIGALRM',
  'SIGVTALRM',
  'SIGPROF',
  'SIGIO',
  'SIGPWR',
  'SIGSTKFLT',
  'SIGXCPU',
] as const
/** How long a start that is told to stop may take, and a drain after a fault beyond `limits.drain`. */
const START_MS = 5_000
const FAULT_MS = 10_000
/** When what the start left behind is collected: soon enough for nobody to have called yet, as a rule. */
const COLLECT_MS = 100

const serveCommand = async (options: { readonly config?: string }): Promise<number> => {
  // V8's profiler wakes itself by SIGPROF.
  const profiled = process.execArgv.some((flag) => /^--(?:cpu-)?prof/.test(flag))
  const ignored = IGNORED.filter((signal) => signal !== 'SIGPROF' || !profiled)
  for (const signal of [...ignored, 'SIGHUP'] as const) process.on(signal, () => undefined)
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
  const { collect } = await import('./observe/memory.ts')
  const ended = Promise.withResolvers<number>()
  let [ready, ending] = [false, false]
  const stop = (result: number, late: number | null): void => {
    ending = true
    if (late !== null) setTimeout(() => leave(EXIT.failed), late).unref()
    starting
      .then((serving) => serving.close())
      .then(
        () => ended.resolve(result),
        (error: unknown) => {
          log.error({ err: error }, 'stopping failed')
          ended.resolve(EXIT.failed)
        },
      )
  }
  for (const [signal, code] of Object.entries(STOPPING))
    process.on(signal, () => {
      if (ending) leave(code)
      log.info({ signal }, 'deputy stops')
      stop(0, ready ? null : START_MS)
    })
  for (const signal of ignored)
    process.on(signal, () => log.warn({ signal }, 'this signal means nothing to deputy'))
  // Somebody rotated the evidence, or changed the configuration. A start that fails tells so itself.
  process.on('SIGHUP', (signal) => {
    log.info(
      { signal },
      'the configuration is read again, and the evidence goes on in the file at its path',
    )
    starting.then(
      (serving) => serving.reload(),
      () => undefined,
    )
  })
  // Node would print these as plain text.
  process.removeAllListeners('warning')
  process.on('warning', (warning) => log.warn({ err: warning }, 'the runtime warns'))
  // A promise that nobody waited for is one call's or one task's: the others go on.
  process.on('unhandledRejection', (error) => log.error({ err: error }, 'unhandled'))
  // Nobody knows what such a fault left half done: no new call, what runs may end, and the evidence is closed.
  process.on('uncaughtException', (error) => {
    log.error({ err: error }, 'uncaught')
    if (!ending) stop(EXIT.failed, from.config.limits.drain + FAULT_MS)
  })
  const { load } = await import('./config/load.ts')
  const read = () => load(options.config, process.env)
  const starting = serve(from, { log, print: complain, version: version(), read })
  let serving: Awaited<typeof starting>
  try {
    serving = await starting
  } catch (error) {
    complain(`deputy does not start:`)
    for (const line of messageOf(error).split('\n')) complain(`  ${line}`)
    return EXIT.config
  }
  for (const [name, address] of Object.entries(serving.addresses)) complain(`${name}: ${address}`)
  complain('deputy is ready')
  ready = true
  setTimeout(collect, COLLECT_MS).unref()
  return ended.promise.finally(log.flush)
}

const validateCommand = async (options: {
  readonly config?: string
  readonly offline?: boolean
}): Promise<number> => {
  const { load } = await import('./config/load.ts')
  const result = await load(options.config, process.env)
  const { validate } = await import('./commands/validate/command.ts')
  const rest = 'loaded' in result ? result.loaded : result.rest
  const problems = 'loaded' in result ? [] : result.problems
  if (rest !== null)
    return validate({ loaded: rest, problems, offline: options.offline === true, print, complain })
  complain(`${('path' in result ? result.path : null) ?? 'deputy'}: 1 problem`)
  for (const problem of problems) complain(`  ${problem}`)
  return EXIT.config
}

type Add = (deputy: Command, done: (code: number) => void) => void

const CONFIG = [
  '--config <file>',
  'configuration file (else DEPUTY_CONFIG, ./deputy.yaml, /etc/deputy/deputy.yaml)',
] as const
const command = (parent: Command, name: string, text: string): Command =>
  parent.command(name).description(text).exitOverride()
const io = { load: loaded, print, complain }

const addServing: Add = (deputy, done) => {
  command(deputy, 'serve', 'run the proxy')
    .option(...CONFIG)
    .action(async (options: { config?: string }) => done(await serveCommand(options)))
  const init = 'write a first configuration, keys and the starter policy; nothing is overwritten'
  command(deputy, 'init', init)
    .option('--provider <id>', 'the provider of the first connection', 'github')
    .option('--dir <folder>', 'where to write', '.')
    .action(async (options: { provider: string; dir: string }) =>
      done(await (await import('./commands/init.ts')).init({ ...options, print, complain })),
    )
  const validate = 'check the configuration and everything that it names; print every problem'
  command(deputy, 'validate', validate)
    .option(...CONFIG)
    .option('--offline', 'ask no issuer, provider, name server or database')
    .action(async (options: { config?: string; offline?: boolean }) =>
      done(await validateCommand(options)),
    )
  command(deputy, 'print-config', 'print the effective configuration, secrets left out')
    .option(...CONFIG)
    .option('--schema', 'print the JSON Schema of the configuration instead')
    .action(async (options: { config?: string; schema?: boolean }) => {
      if (options.schema === true) {
        const { configJsonSchema } = await import('./config/words.ts')
        print(JSON.stringify(configJsonSchema(), null, 2))
        return done(0)
      }
      const from = await loaded(options.config)
      if (from !== null) print((await import('yaml')).stringify(await shownConfig(from.config)))
      return done(from === null ? EXIT.config : 0)
    })
  command(deputy, 'version', 'print the version')
    .option('--json', 'as JSON')
    .action((options: { json?: boolean }) => {
      const about = { version: version(), node: process.version }
      print(options.json === true ? JSON.stringify(about) : about.version)
      done(0)
    })
}

const addHealth: Add = (deputy, done) => {
  const text =
    'ask the admin listener of a deputy that serves whether it is ready, and print the answer (exit 0; 1 not ready, or no answer; 78 the configuration names no address)'
  command(deputy, 'healthz', text)
    .option(...CONFIG)
    .option('--address <host:port>', 'ask there, and read no configuration')
    .option('--live', 'ask only whether it answers at all (/livez)')
    .option('--timeout <seconds>', 'how long an answer may take, 0.1 to 60', '3')
    .action(async (options: HealthOptions) => {
      const health = await import('./commands/healthz.ts')
      return done(await health.healthzCommand(options, process.env, { print, complain }))
    })
}

const addKeys: Add = (deputy, done) => {
  command(deputy, 'keygen', 'make the key ring that seals the vault')
    .option('--out <file>', 'where to write it', 'keys.json')
    .option('--kms <program>', 'exec:PATH of the program that wraps its keys (else vault.kms)')
    .option(...CONFIG)
    .action(async (options: { out: string; kms?: string; config?: string }) => {
      const { kmsGiven } = await import('./config/load.ts')
      const kms = await kmsGiven(options, process.env).catch((error: unknown) => {
        complain(messageOf(error))
        return undefined
      })
      if (kms === undefined) return done(EXIT.config)
      const { keygen } = await import('./commands/keys.ts')
      done(await keygen({ out: options.out, kms, print }))
    })
  const keys = command(deputy, 'keys', 'the key ring of the vault')
  command(keys, 'rotate', 'seal everything anew under a new key, also while deputy serves')
    .option(...CONFIG)
    .option('--retire', 'add no key: remove the keys that nothing is sealed under any more')
    .action(async (options: { config?: string; retire?: boolean }) => {
      const from = await loaded(options.config)
      if (from === null) return done(EXIT.config)
      const { keysRotate } = await import('./commands/keys.ts')
      const retire = options.retire === true
      return done(await keysRotate({ loaded: from, retire, print, complain }))
    })
  for (const [name, to, what] of [
    ['wrap', 'wrapped', 'have the program of vault.kms wrap the keys of the ring'],
    ['unwrap', 'plain', 'the way back: the file holds the keys as they are again'],
  ] as const)
    command(keys, name, what)
      .option(...CONFIG)
      .action(async (options: { config?: string }) => {
        const from = await loaded(options.config)
        if (from === null) return done(EXIT.config)
        const { keysConvert } = await import('./commands/keys.ts')
        done(await keysConvert({ loaded: from, to, print, complain }))
      })
}

const addProviders: Add = (deputy, done) => {
  const providers = command(deputy, 'providers', 'provider definitions')
  const dir = shipped('providers')
  command(providers, 'list', 'list the definitions that ship with deputy').action(async () =>
    done((await import('./commands/providers.ts')).providersList({ print, dir })),
  )
  const test =
    'run a definition against a scripted provider that misbehaves in every way that applies'
  command(providers, 'test', test)
    .argument('<id>')
    .option('--file <file>', 'a definition of your own; it may extend a shipped one')
    .action(async (id: string, options: { file?: string }) => {
      const { providersTest } = await import('./commands/quirks.ts')
      done(await providersTest({ id, ...options, print, dir }))
    })
  command(providers, 'show', 'print one definition')
    .argument('<id>')
    .option('--operations', 'only its operations, by access and scopes, each in a line of words')
    .option(
      '--as <person>',
      'instead what this person may do there today, and through which agents',
    )
    .option('--tenant <name>', 'of the person')
    .option('--realm <name>', 'of the person')
    .option('--agent <id>', 'through this agent alone')
    .option(...CONFIG)
    .action(async (id: string, options: { operations?: boolean; as?: string; config?: string }) =>
      done(
        options.as === undefined
          ? (await import('./commands/providers.ts')).providersShow({ id, ...options, print, dir })
          : await showAs(id, options.as, options, io),
      ),
    )
}

const addTools: Add = (deputy, done) => {
  const tools = command(deputy, 'tools', 'operations under names that models and their hosts call')
  command(tools, 'list', 'list the tools of the configured connections, with what each may do')
    .option('--plain', 'also each operation that is a tool by itself')
    .option(...CONFIG)
    .action(async (options: { config?: string; plain?: boolean }) => {
      const from = await loaded(options.config)
      if (from === null) return done(EXIT.config)
      const { toolsList } = await import('./commands/tools.ts')
      done(await toolsList({ loaded: from, plain: options.plain === true, print, complain }))
    })
  const test =
    'build the requests of a tool and print them; a scripted provider answers, nothing is sent (exit 0; 1 it cannot be called so)'
  command(tools, 'test', test)
    .argument('<name>')
    .argument('[input]', 'arguments as JSON; without them the example of its file')
    .option('--answers <file>', 'what the provider answers, a JSON list in the order of the calls')
    .option(...CONFIG)
    .action(
      async (
        name: string,
        input: string | undefined,
        options: { config?: string; answers?: string },
      ) => {
        const from = await loaded(options.config)
        if (from === null) return done(EXIT.config)
        const { toolsTest } = await import('./commands/tools.ts')
        const { answers } = options
        done(await toolsTest({ loaded: from, name, input, answers, print, complain }))
      },
    )
}

const addImport: Add = (deputy, done) => {
  const text =
    'turn providers in another product’s words (auth.providers, oauth2, provider_id) into connections and providers of deputy; what cannot be carried over is listed on standard error (exit 0; 2 something could not be; 1 nothing was written)'
  command(deputy, 'import', text)
    .argument('<file>', 'YAML or JSON: one provider, or a whole file with auth.providers')
    .option('--out <file>', 'a new file instead of standard output; nothing is overwritten')
    .action(async (file: string, options: { out?: string }) => {
      const { importProviders } = await import('./commands/import.ts')
      done(await importProviders({ file, ...options, print, complain }))
    })
}

const addEntitlements: Add = (deputy, done) => {
  const of = command(deputy, 'entitlements', 'what people are entitled to')
  const text =
    'ask the configured sources about one person now, and print where each value comes from and what the starter policy makes of it (exit 0; 1 a source could not be asked)'
  command(of, 'show', text)
    .argument('<id>', 'the id of the person, as a tag names it')
    .option('--tenant <name>', 'of the person')
    .option('--realm <name>', 'of the person')
    .option(...CONFIG)
    .action(async (user: string, options: { config?: string; tenant?: string; realm?: string }) => {
      const from = await loaded(options.config)
      if (from === null) return done(EXIT.config)
      const { entitlementsShow } = await import('./commands/entitlements.ts')
      const { tenant, realm } = options
      const whose = {
        ...(tenant === undefined ? {} : { tenant }),
        ...(realm === undefined ? {} : { realm }),
      }
      return done(await entitlementsShow({ loaded: from, user, ...whose, print, complain }))
    })
}

const addCa: Add = (deputy, done) => {
  command(deputy, 'ca', 'make the certificate authority of the forward proxy')
    .option(...CONFIG)
    .option('--days <days>', 'how long agents may trust it', whole, 90)
    .option('--renew', 'make another in place of the one that is there')
    .action(async ({ config, days, renew }: { config?: string; days: number; renew?: boolean }) => {
      const from = await loaded(config)
      if (from === null) return done(EXIT.config)
      process.umask(0o077)
      const { makeCa } = await import('./commands/ca.ts')
      const [again, now] = [renew === true, Date.now()]
      return done(await makeCa({ loaded: from, days, renew: again, now, print, complain }))
    })
}

const addConnect: Add = (deputy, done) => {
  const connect = command(deputy, 'connect', 'the pages that people see')
  command(connect, 'code', 'print the one-time code of `sign_in: local`')
    .option(...CONFIG)
    .action(async (options: { config?: string }) => {
      const from = await loaded(options.config)
      if (from === null) return done(EXIT.config)
      const { connectCode } = await import('./commands/local.ts')
      return done(connectCode({ ...from, print, complain }))
    })
}

/** How the printed program ends: with the exit code of its one function. */
const SELFTEST_END =
  'process.exit(await selftest({ ...given, env: process.env, print: (line) => process.stdout.write(`${line}\\n`) }))'
const addSelftest: Add = (deputy, done) => {
  const text =
    'try to get round deputy from where the agent runs, and print what could be reached (exit 0 nothing; 1 something; 2 not everything could be tried)'
  command(deputy, 'selftest', text)
    .requiredOption(
      '--from-agent',
      'try what an agent could: run this as its uid, in its container',
    )
    .option('--deputy <url>', 'where the agent calls deputy (http://127.0.0.1:7410)')
    .option('--uid <uid>', 'the uid of deputy (65532)', whole)
    .option('--port <port...>', 'its ports that are not for agents (7411 7412 7413)', wholes)
    .option(
      '--target <host:port...>',
      'what only deputy should reach, instead of well-known addresses',
    )
    .option('--resolver <address...>', 'name servers outside, instead of well-known ones')
    .option('--file <path...>', 'what deputy alone should read, instead of the usual folders')
    .option('--allow <kind...>', 'what may be reached, such as dns')
    .option('--script', 'print it as one program, for the Node of an agent’s image')
    .action(async (options: { script?: boolean; fromAgent?: boolean } & SelftestFlags) => {
      const { selftest, selftestScript, USUAL } = await import('./commands/selftest.ts')
      const { script, port, target, resolver, file, fromAgent: _, ...rest } = options
      const given = {
        ...USUAL,
        ...rest,
        ports: port ?? USUAL.ports,
        targets: target ?? USUAL.targets,
        resolvers: resolver ?? USUAL.resolvers,
        files: file ?? USUAL.files,
      }
      if (script === true) print(await selftestScript(given, SELFTEST_END))
      done(script === true ? 0 : await selftest({ ...given, env: process.env, print }))
    })
}

const ADDED = [
  addServing,
  addHealth,
  addKeys,
  addProviders,
  addTools,
  addImport,
  addCa,
  addConnect,
  addEntitlements,
  addSelftest,
]

/** Every command; `done` is told how the one that ran ended. */
export const program = (done: (code: number) => void): Command => {
  const deputy = new Command('deputy')
    .description(
      'A policy-enforcing proxy: an AI agent acts as its user without ever holding the user’s credentials.',
    )
    .exitOverride()
    .showHelpAfterError('(deputy --help lists the commands)')
  for (const add of ADDED) add(deputy, done)
  addPolicyCommands(deputy, command, done, { ...io, places: opaPlaces() })
  addAuditCommands(deputy, command, done, io)
  addVaultCommands(deputy, command, done, io)
  const token = process.env['DEPUTY_OPERATOR_TOKEN']
  addOperatorCommands(deputy, command, done, { token, loginFile: loginFile(), ...io })
  return deputy
}

/** 128 + SIGPIPE, as programs end that read no further than `head` wants. Node ignores the signal. */
const UNREAD = 141

/** Runs one command and ends the process with its exit code. */
export const run = async (argv: readonly string[]): Promise<void> => {
  if (argv[0] !== 'serve')
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') leave(UNREAD)
      throw error
    })
  let code = EXIT.usage as number
  const command = program((result) => (code = result))
  if (argv.length === 0) {
    complain(command.helpInformation())
    leave(EXIT.usage)
  }
  try {
    await command.parseAsync(argv, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) code = error.exitCode === 0 ? 0 : EXIT.usage
    else {
      complain(`deputy failed: ${messageOf(error)}`)
      code = EXIT.failed
    }
  }
  leave(code)
}
