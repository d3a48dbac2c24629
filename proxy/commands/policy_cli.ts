// The commands for policy and their options; what they do is imported when one is asked for.
import { InvalidArgumentError, type Command } from 'commander'
import type { OpaPlaces } from './policy.ts'
import { addWhyCommands } from './why/cli.ts'

/** `places`: where an `opa` may be. */
type Io = Parameters<typeof addWhyCommands>[3] & { readonly places: OpaPlaces }

const percent = (text: string): number => {
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0 && value <= 100))
    throw new InvalidArgumentError('It must be a number from 0 to 100.')
  return value
}

/** @param done gets the exit code */
export const addPolicyCommands = (
  deputy: Command,
  command: (parent: Command, name: string, text: string) => Command,
  done: (code: number) => void,
  io: Io,
): void => {
  const { print, complain, places } = io
  const here = () => ({ root: process.cwd(), places, print })
  const policy = command(deputy, 'policy', 'build, test and question the Rego of policies/')
  const build =
    'compile policies/ into policies/bundle.tar.gz and check its probes; the same sources give the same bytes'
  command(policy, 'build', build)
    .option('--out <file>', 'where to write it')
    .option('--check', 'compare a rebuild with the committed bundle instead of writing')
    .option('--signing-key <file>', 'sign it with this private key (PEM), with the time of now')
    .option('--scope <name>', 'the scope of the signature')
    .action(
      async (options: { out?: string; check?: boolean; signingKey?: string; scope?: string }) =>
        done(await (await import('./policy.ts')).policyBuild({ ...options, ...here() })),
    )
  const test = 'check format and types, run the tests, and say how much of the Rego they reach'
  command(policy, 'test', test)
    .option('--coverage <percent>', 'fail if the tests reach less of the Rego', percent)
    .action(async (options: { coverage?: number }) =>
      done(await (await import('./policy.ts')).policyTest({ ...options, ...here() })),
    )
  addWhyCommands(policy, command, done, io)
  const tables = 'print the tables as the policy sees them, every row whole, for OPA’s own tools'
  command(policy, 'tables', tables)
    .option('--bundle <file>', 'the bundle whose tables they replace', 'policies/bundle.tar.gz')
    .option('--data <folder>', 'the folder of tables (policy.data)')
    .action(async ({ bundle, data = null }: { bundle: string; data?: string | null }) => {
      const { policyTables } = await import('./policy_tables.ts')
      done(await policyTables({ bundle, data, print, complain }))
    })
}
