// The commands about people and tenants as a whole, and their options.
import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import type { Loaded } from '../config/load.ts'
import type { Asked, Operate } from './operate.ts'

/** What all commands of operators are made with. */
type Made = {
  readonly deputy: Command
  readonly operator: (parent: Command, name: string, text: string) => Command
  /** Adds `--tenant` and `--realm`. */
  readonly place: (made: Command) => Command
  readonly many: (value: string, before?: readonly string[]) => readonly string[]
  readonly asked: <T extends Asked>(options: T) => T & Operate
  readonly load: (flag: string | undefined) => Promise<Loaded | null>
  readonly own: Pick<Operate, 'token' | 'loginFile'>
}

export const addPeopleCommands = (
  { deputy, operator, place, many, asked, load, own }: Made,
  done: (code: number) => void,
): void => {
  const operate = () => import('./operate.ts')
  const people = deputy
    .command('people')
    .description('the people that deputy acts for')
    .exitOverride()
  place(
    operator(people, 'erase', 'revoke everything that a person connected, and forget the person'),
  )
    .argument('<id>', 'the id of the person')
    .action(async (user: string, options: Asked) =>
      done(await (await operate()).peopleErase({ ...asked(options), user })),
    )
  type Evidence = { evidence?: readonly string[]; withoutEvidence?: boolean }
  const evidence = (made: Command): Command =>
    made
      .option(
        '--evidence <file>',
        'its files or folders, of every replica (else that of this machine’s deputy); repeat it for more',
        many,
      )
      .option('--without-evidence', 'only what the vault keeps')
  /** Where the evidence is; that of this machine's deputy only where that is the one that is asked. */
  const found = async (options: Asked & Evidence) => {
    const { evidence: named, withoutEvidence: without = false } = options
    if (without || named !== undefined) return { files: named ?? [], without }
    const elsewhere =
      options.url !== undefined || options.tokenFile !== undefined || (own.token ?? '') !== ''
    const here = options.config !== undefined || (!elsewhere && !existsSync(own.loginFile))
    if (!here) return { files: null, without }
    const loaded = await load(options.config)
    if (loaded === null) return { files: null, without }
    return { files: await (await import('./vault.ts')).evidenceOf(loaded), without }
  }
  const folk = () => import('./people.ts')
  evidence(place(operator(people, 'export', 'all that is kept of a person, as one JSON document')))
    .argument('<id>', 'the id of the person')
    .action(async (user: string, options: Asked & Evidence) =>
      done(
        await (
          await folk()
        ).peopleExport({
          ...asked(options),
          ...(await found(options)),
          user,
        }),
      ),
    )
  const tenants = deputy.command('tenants').description('a whole tenant').exitOverride()
  evidence(operator(tenants, 'export', 'all that is kept of the people of a tenant, as JSON'))
    .argument('<name>', 'the tenant')
    .action(async (tenant: string, options: Asked & Evidence) =>
      done(
        await (
          await folk()
        ).tenantsExport({
          ...asked(options),
          ...(await found(options)),
          tenant,
        }),
      ),
    )
  operator(tenants, 'erase', 'erase everybody of a tenant, then what is the tenant’s own')
    .argument('<name>', 'the tenant')
    .action(async (tenant: string, options: Asked) =>
      done(await (await folk()).tenantsErase({ ...asked(options), tenant })),
    )
}
