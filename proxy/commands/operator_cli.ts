// The operator's commands and their options; what they do is imported when one is asked for.
import { InvalidArgumentError, type Command } from 'commander'
import type { Loaded } from '../config/load.ts'
import type { Asked, Operate } from './operate.ts'
import { addPeopleCommands } from './people_cli.ts'

const seconds = (text: string): number => {
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw new InvalidArgumentError('It must be a whole number of seconds, such as 3600.')
  return Number(text)
}

/** @param io where the bearer comes from when no file is named, and where lines go */
export const addOperatorCommands = (
  deputy: Command,
  command: (parent: Command, name: string, text: string) => Command,
  done: (code: number) => void,
  io: Pick<Operate, 'token' | 'loginFile' | 'print' | 'complain'> & {
    readonly load: (flag: string | undefined) => Promise<Loaded | null>
  },
): void => {
  const operator = (parent: Command, name: string, text: string): Command =>
    command(parent, name, text)
      .option(
        '--url <origin>',
        'the operators’ API; with a bearer the default is http://127.0.0.1:7412',
      )
      .option('--token-file <file>', 'the operator’s bearer (else DEPUTY_OPERATOR_TOKEN)')
      .option(
        '--config <file>',
        'without a bearer, and instead of who is signed in: the deputy of this configuration, running or not',
      )
  const asked = <T extends Asked>(options: T) => ({
    ...options,
    ...io,
    local: async () => {
      const loaded = await io.load(options.config)
      return loaded === null ? null : (await import('./local.ts')).reachLocal(loaded, io.complain)
    },
  })
  const operate = () => import('./operate.ts')
  command(deputy, 'login', 'sign in as an operator, at the issuer of operators_sign_in')
    .option('--url <origin>', 'the operators’ API', 'http://127.0.0.1:7412')
    .action(async ({ url }: { url: string }) =>
      done(await (await import('./login.ts')).login({ url, file: io.loginFile, ...io })),
    )
  command(deputy, 'logout', 'end the sign-in, here and at the issuer').action(async () =>
    done(await (await import('./login.ts')).logout({ file: io.loginFile, ...io })),
  )
  const place = (made: Command): Command =>
    made.option('--tenant <name>', 'of the person').option('--realm <name>', 'of the person')
  const many = (value: string, before: readonly string[] = []): readonly string[] => [
    ...before,
    value,
  ]
  const runs = deputy.command('runs').description('run tokens for jobs').exitOverride()
  place(operator(runs, 'create', 'mint a run token; it is printed once'))
    .requiredOption('--user <id>', 'the person it acts for')
    .requiredOption('--agent <name>', 'the agent that may use it')
    .requiredOption('--connection <name>', 'a connection that it may use; repeat it for more', many)
    .option(
      '--operation <id>',
      'an operation, such as issues.create or issues.*, that it is limited to; repeat it for more',
      many,
    )
    .requiredOption('--expires-in <seconds>', 'how long it lives', seconds)
    .action(
      async (
        options: Asked & {
          user: string
          agent: string
          connection: readonly string[]
          operation?: readonly string[]
          expiresIn: number
        },
      ) => done(await (await operate()).runsCreate(asked(options))),
    )
  const connections = deputy.command('connections').description('connected accounts').exitOverride()
  operator(connections, 'list', 'list connected accounts, without their tokens')
    .option('--user <id>', 'only those of this person')
    .option('--provider <id>', 'only those of this connection or provider')
    .option('--tenant <name>', 'only those of this tenant')
    .action(async (options: Asked & { user?: string; provider?: string; tenant?: string }) =>
      done(await (await operate()).connectionsList(asked(options))),
    )
  place(operator(connections, 'revoke', 'revoke here, then at the provider'))
    .argument('[id]', 'one connection, by the id that list prints')
    .option('--user <id>', 'everything that a person connected')
    .option('--agent <name>', 'with --user: only what this agent was allowed')
    .option('--connection <name>', 'what everybody granted at a connection')
    .action(
      async (
        id: string | undefined,
        options: Asked & { user?: string; agent?: string; connection?: string },
      ) => done(await (await operate()).connectionsRevoke({ ...asked(options), id })),
    )
  const agents = deputy
    .command('agents')
    .description('the agents that act for people')
    .exitOverride()
  operator(agents, 'list', 'list agents that are known or switched off').action(
    async (options: Asked) => done(await (await operate()).agentsList(asked(options))),
  )
  const switches = (to: 'disable' | 'enable', text: string): Command =>
    operator(agents, to, text)
      .argument('<id>', 'the agent, as its calls name it')
      .option('--tenant <name>', 'for this tenant only')
      .action(async (id: string, options: Asked & { tenant?: string }) =>
        done(await (await operate()).agentsSwitch({ ...asked(options), id, to })),
      )
  switches('disable', 'switch an agent off: its calls end within a second, everywhere')
  switches('enable', 'switch it on again')
  addPeopleCommands({ deputy, operator, place, many, asked, load: io.load, own: io }, done)
}
