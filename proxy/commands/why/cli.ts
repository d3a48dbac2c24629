// The commands that answer "why?" and their options; what they do is imported when one is asked for.
import { InvalidArgumentError, type Command } from 'commander'
import type { Loaded } from '../../config/load.ts'

type Io = {
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
  readonly load: (flag: string | undefined) => Promise<Loaded | null>
}
type Sealed = {
  readonly inputs?: readonly string[]
  readonly inputsKey?: string
}
type Person = {
  readonly config?: string
  readonly user?: string
  readonly tenant?: string
  readonly realm?: string
  readonly agent?: string
}
type Explain = Person &
  Sealed & {
    readonly part?: number
    readonly evidence?: readonly string[]
    readonly now?: boolean
    readonly connection?: string
    readonly body?: string
    readonly contentType?: string
    readonly scopes?: readonly string[]
  }
type Diff = Sealed & {
  readonly config?: string
  readonly data?: string
  readonly evidence?: readonly string[]
  readonly from?: string
  readonly to?: string
  readonly now?: boolean
}

const CONFIG = ['--config <file>', 'the deputy of this configuration'] as const
const NOW = 'take what the file of people says now, where it is not what it said then'
const EVIDENCE = [
  '--evidence <file...>',
  'files of evidence, or folders; what they continue is found beside them (else audit.sink)',
] as const
const sealed = (to: Command): Command =>
  to
    .option('--inputs <file...>', 'sealed inputs of policy (else inputs.jsonl below state)')
    .option('--inputs-key <file>', 'the private JWK that opens them (audit.inputs_key)')
const scopesIn = (text: string): readonly string[] =>
  text.split(/[\s,]+/).filter((one) => one !== '')
const number = (text: string): number => {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('It must be a number from 1.')
  return Number(text)
}
const ofPerson = (to: Command): Command =>
  to
    .option('--tenant <name>', 'of the person')
    .option('--realm <name>', 'of the person')
    .option('--agent <id>', 'the agent that calls')

/** How many records were read so far, in one line of a terminal. */
const progressOn = (terminal: NodeJS.WriteStream): ((records: number) => void) | undefined =>
  terminal.isTTY ? (n) => void terminal.write(`\r${n} lines read\x1b[K\r`) : undefined

/**
 * @param policy the command `policy`
 * @param done gets the exit code
 */
export const addWhyCommands = (
  policy: Command,
  command: (parent: Command, name: string, text: string) => Command,
  done: (code: number) => void,
  { load, ...io }: Io,
): void => {
  const explain = ofPerson(
    command(
      policy,
      'explain',
      'say which rules and rows decided a call, what the nearest row lacked, and the smallest change that would allow it, proved by the policy itself (exit 0 told; 2 not all could be determined)',
    )
      .argument(
        '<what>',
        'the exchange id of a recorded call, or "POST /api.github.com/repos/a/b/issues"',
      )
      .option('--part <n>', 'of a call that is several', number)
      .option(...EVIDENCE)
      .option('--now', NOW)
      .option('--user <id>', 'the person, of a call that is named'),
  )
  sealed(explain)
    .option('--connection <name>', 'of a host that several connections serve')
    .option('--body <file>', 'the body of the call')
    .option('--content-type <type>', 'of the body', 'application/json')
    .option(
      '--scopes <list>',
      'what the account has been granted (else all that may be asked for)',
      scopesIn,
    )
    .option(...CONFIG)
    .action(async (what: string, options: Explain) => {
      const loaded = await load(options.config)
      if (loaded === null) return done(78)
      const { policyExplain } = await import('./explain.ts')
      const { evidence = [], now = false } = options
      done(await policyExplain({ ...options, ...io, loaded, what, evidence, now }))
    })
  const diff = command(
    policy,
    'diff',
    'ask another policy about the recorded calls, and list those that it would answer otherwise (exit 0 none; 1 some; 2 it could not be told)',
  )
  sealed(diff)
    .argument('<candidate>', 'a bundle, as a file or a folder')
    .option('--data <folder>', 'tables of the candidate (else policy.data)')
    .option(...EVIDENCE)
    .option('--from <time>', 'calls from this time on')
    .option('--to <time>', 'calls before this time')
    .option('--now', NOW)
    .option(...CONFIG)
    .action(async (candidate: string, options: Diff) => {
      const loaded = await load(options.config)
      if (loaded === null) return done(78)
      const { policyDiff } = await import('./diff.ts')
      const { evidence = [], now = false } = options
      const progress = progressOn(process.stderr)
      done(await policyDiff({ ...options, ...io, loaded, candidate, evidence, now, progress }))
    })
  command(
    policy,
    'who-can',
    'list who may do an operation today, through which agents and on what condition (exit 0 somebody; 1 nobody; 2 it could not be told)',
  )
    .argument('<operation>', 'its id, as `deputy providers show` lists it')
    .requiredOption('--connection <name>', 'the connection it is done at')
    .option(...CONFIG)
    .action(async (operation: string, options: { connection: string; config?: string }) => {
      const loaded = await load(options.config)
      if (loaded === null) return done(78)
      const { policyWhoCan } = await import('./who.ts')
      done(await policyWhoCan({ ...io, loaded, operation, connection: options.connection }))
    })
}

/** `deputy providers show ID --as PERSON`. */
export const showAs = async (
  id: string,
  user: string,
  options: Person,
  { load, ...io }: Io,
): Promise<number> => {
  const loaded = await load(options.config)
  if (loaded === null) return 78
  const { providersShowAs } = await import('./who.ts')
  return providersShowAs({ ...options, ...io, loaded, id, user })
}
