// `deputy policy tables`: the tables as the policy sees them, every row whole, for OPA's own tools.
import { checkTables } from '../policy/make.ts'
import { loadTables } from '../policy/source.ts'
import { readBundle } from '../policy/bundle.ts'
import { readWhole } from '../files.ts'
import { messageOf } from '../problem.ts'

/**
 * Prints `{ "deputy_data": … }` as JSON: the bundle's tables, those of the folder in place of them, without the probes.
 * @param options.data the folder; null: the bundle's alone
 * @returns exit code: 0, or 1 with everything that is wrong with the tables
 */
export const policyTables = async (options: {
  readonly bundle: string
  readonly data: string | null
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): Promise<number> => {
  try {
    const bundle = await readBundle(await readWhole(options.bundle))
    const tables = checkTables(bundle, options.bundle, await loadTables(options.data))
    const whole = [...tables].filter(([name]) => name !== 'probes')
    const deputy_data = Object.fromEntries(whole.map(([name, { value }]) => [name, value]))
    options.print(JSON.stringify({ deputy_data }, null, 2))
    return 0
  } catch (error) {
    options.complain(messageOf(error))
    return 1
  }
}
