// The commands for copies of the vault and their options; what they do is imported when one is asked for.
import type { Command } from 'commander'
import type { Loaded } from '../config/load.ts'
import type * as vault from './vault.ts'

type Io = {
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}
type Asked = { readonly config?: string }
type Named = Asked & { readonly evidence: readonly string[]; readonly withoutEvidence?: boolean }

/** @param done gets the exit code */
export const addVaultCommands = (
  deputy: Command,
  command: (parent: Command, name: string, text: string) => Command,
  done: (code: number) => void,
  io: Io & { readonly load: (flag: string | undefined) => Promise<Loaded | null> },
): void => {
  const { load, ...said } = io
  const parent = deputy.command('vault').description('copies of the vault').exitOverride()
  const made = (name: string, text: string): Command =>
    command(parent, name, text).option('--config <file>', 'the deputy of this configuration')
  const asked = async (
    { config }: Asked,
    work: (commands: typeof vault, io: Io & { loaded: Loaded }) => Promise<number>,
  ): Promise<void> => {
    const loaded = await load(config)
    if (loaded === null) return done(78)
    process.umask(0o077)
    done(await work(await import('./vault.ts'), { ...said, loaded }))
  }
  const evidence = [
    '--evidence <file>',
    'a file of the evidence; repeat it for more files',
  ] as const
  const many = (value: string, before: readonly string[]): readonly string[] => [...before, value]

  made('backup', 'copy the SQLite vault, also while deputy serves')
    .argument('<file>', 'a new file')
    .action((file: string, options: Asked) =>
      asked(options, (commands, on) => commands.vaultBackup({ ...on, file })),
    )
  made('restore', 'put a copy in its place, and revoke again what was revoked since')
    .argument('<file>', 'a file that `vault backup` wrote')
    .option(...evidence, many, [])
    .option(
      '--without-evidence',
      'restore all the same if evidence is missing; whoever was revoked since the copy is connected again',
    )
    .action((file: string, options: Named) =>
      asked(options, (commands, on) => {
        const without = options.withoutEvidence === true
        return commands.vaultRestore({ ...on, file, evidence: options.evidence, without })
      }),
    )
  made('replay', 'revoke again what the evidence says was revoked since the copy')
    .option(...evidence, many, [])
    .action((options: Named) =>
      asked(options, (commands, on) => commands.vaultReplay({ ...on, evidence: options.evidence })),
    )
}
