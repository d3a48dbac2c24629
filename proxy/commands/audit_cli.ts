// The commands for the evidence and their options; what they do is imported when one is asked for.
import { InvalidArgumentError, Option, type Command } from 'commander'
import type { Loaded } from '../config/load.ts'
import type { Filter } from '../audit/query.ts'

const FILES = 'files of evidence, or folders of them'
const USUAL = ['audit.jsonl']
/** A value of an option. @throws InvalidArgumentError */
export const whole = (text: string): number => {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.')
  return Number(text)
}

type Asked = Omit<Filter, 'since' | 'until'> & {
  readonly since?: string
  readonly until?: string
  readonly format: 'text' | 'markdown' | 'csv' | 'jsonl' | 'ocsf'
  readonly limit: number
  readonly summary?: boolean
  readonly config?: string
}

type Io = {
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
  readonly load: (flag: string | undefined) => Promise<Loaded | null>
}

/** @param done gets the exit code */
export const addAuditCommands = (
  deputy: Command,
  command: (parent: Command, name: string, text: string) => Command,
  done: (code: number) => void,
  { load, ...io }: Io,
): void => {
  /** A person by every name that the evidence has for them; null: the configuration is no good. */
  const named = async (
    { user, ...filter }: Omit<Filter, 'since' | 'until'>,
    config: string | undefined,
  ): Promise<Filter | null> => {
    if (user === undefined) return filter
    if (config === undefined) return { ...filter, user }
    const loaded = await load(config)
    if (loaded === null) return null
    const { whoseNames } = await import('./audit_whois.ts')
    const led = await whoseNames(loaded, [], [user], io.complain)
    return { ...filter, names: [...new Set([user, ...led.map(({ name }) => name)])] }
  }
  const audit = command(deputy, 'audit', 'the evidence')
  const verify =
    'prove by signed anchors that no line was changed, removed, inserted or reordered (exit 0 proved; 1 broken; 2 whole, but not proved)'
  command(audit, 'verify', verify)
    .argument('[files...]', FILES, USUAL)
    .option('--keys <file>', 'key ring that signed the anchors')
    .option(
      '--anchors <file>',
      'a copy of the evidence that you keep elsewhere; all of its anchors must be found',
    )
    .action(async (files: string[], options: { keys?: string; anchors?: string }) =>
      done(await (await import('./audit.ts')).auditVerify({ files, ...options, print: io.print })),
    )
  command(audit, 'query', 'who did what as whom through which agent')
    .argument('[files...]', FILES, USUAL)
    .option('--user <id>', 'the person, as the evidence names them; with --config by their id')
    .option(
      '--config <file>',
      'with --user: the deputy of this configuration, which tells how the evidence names them (audit.user_ids: hashed)',
    )
    .option('--realm <name>', 'their realm')
    .option('--tenant <name>', 'their tenant')
    .option('--agent <id>', 'the agent')
    .option('--run <id>', 'the run')
    .option('--connection <name>', 'the connection')
    .option('--operation <id>', 'the operation, or a family of them (issues.*)')
    .option('--access <kind>', 'read, write, delete or admin')
    .option('--effect <effect>', 'allow, deny, consent_required, approval_required …')
    .option('--reason <code>', 'a code that policy or deputy refused with')
    .option('--result <code>', 'how an allowed call ended: ok, interrupted, or a code')
    .option('--event <name>', 'call, refused, or an event or family of them (consent.*)')
    .option('--exchange <id>', 'one call')
    .option('--since <time>', '2026-11-28, 2026-11-28T15:00:00Z, or 7d for as long ago')
    .option('--until <time>', 'the same; what happened then is not in it')
    .addOption(
      new Option('--format <format>', 'how to print it')
        .choices(['text', 'markdown', 'csv', 'jsonl', 'ocsf'])
        .default('text'),
    )
    .option('--limit <rows>', 'rows to print', whole, 1_000_000)
    .option('--summary', 'counts by effect, result, person, agent, connection and operation')
    .action(async (files: string[], options: Asked) => {
      const { auditQuery, timeOf } = await import('./audit_query.ts')
      const { since, until, format, limit, summary, config, ...said } = options
      const at = (text: string | undefined): number | undefined =>
        text === undefined ? undefined : timeOf(text, Date.now())
      try {
        const [from, to] = [at(since), at(until)]
        const filter = await named(said, config)
        if (filter === null) return done(78)
        const asked: Filter = {
          ...filter,
          ...(from === undefined ? {} : { since: from }),
          ...(to === undefined ? {} : { until: to }),
        }
        done(
          await auditQuery({
            files,
            filter: asked,
            format,
            limit,
            summary: summary === true,
            ...io,
            ...(process.stderr.isTTY
              ? {
                  progress: ({ lines }) =>
                    void process.stderr.write(`${lines.toLocaleString('en')} lines read\r`),
                }
              : {}),
          }),
        )
      } catch (error) {
        io.complain(error instanceof Error ? error.message : String(error))
        done(64)
      }
    })
  command(audit, 'explain', 'tell the story of one call in sentences')
    .argument('<exchange>', 'the id that the answer names as `instance`')
    .argument('[files...]', FILES, USUAL)
    .option('--inputs <file>', 'what was sealed, or a folder of it', 'inputs.jsonl')
    .option(
      '--inputs-key <file>',
      'the private JWK that opens what was sealed of the call (audit.inputs_key)',
    )
    .action(
      async (exchange: string, files: string[], options: { inputs: string; inputsKey?: string }) =>
        done(
          await (
            await import('./audit_explain.ts')
          ).auditExplain({ exchange, files, ...options, ...io }),
        ),
    )
  command(
    audit,
    'whois',
    'say which person a hash of the evidence is (audit.user_ids: hashed), by vault and key ring (exit 0 each is somebody; 1 one was erased, or is nobody of those tried)',
  )
    .argument('[hashes...]', 'as the evidence has them: hmac2:… or hmac:…')
    .option('--user <id...>', 'who it may be (else whoever the vault knows); alone: their hashes')
    .option('--config <file>', 'the deputy of this configuration')
    .action(async (hashes: string[], options: { user?: readonly string[]; config?: string }) => {
      const loaded = await load(options.config)
      if (loaded === null) return done(78)
      const { auditWhois } = await import('./audit_whois.ts')
      done(await auditWhois({ ...io, loaded, hashes, users: options.user ?? [] }))
    })
}
