// The tables of docs/catalogues.md, made from what ships and from the rules that judged it.
import { join } from 'node:path'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import type { OperationRow, Provider } from '../../proxy/model.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { isObject } from '../../proxy/wire/json.ts'
import { RULES } from './access.ts'

const dir = join(import.meta.dirname, '../../providers')
const ids = (rows: readonly OperationRow[] = []): ReadonlySet<string> =>
  new Set(rows.map(({ id }) => id))

/** Provider → operations, those of them by hand, by access, and with scopes that a source says. */
export const countsTable = (): string => {
  const files = readProviderFiles(dir)
  const plain = new Map(
    [...files].map(([name, raw]) => [
      name,
      isObject(raw) && 'catalogue' in raw ? { ...raw, catalogue: undefined } : raw,
    ]),
  )
  const hand = compileProviders(plain).providers
  const row = ({ id, operations }: Provider): string => {
    const access = (is: OperationRow['access']): number =>
      ids(operations.filter((one) => one.access === is)).size
    const told = ids(operations.filter(({ scopes }) => scopes.length > 0)).size
    const all = ids(operations).size
    const own = ids(hand.get(id)?.operations).size
    return `| ${[id, all, own, all - own, access('read'), access('write'), access('delete'), access('admin'), told].join(' | ')} |`
  }
  return [
    '| provider | operations | by hand | generated | read | write | delete | admin | with scopes |',
    '|---|---|---|---|---|---|---|---|---|',
    ...[...compileProviders(files).providers.values()]
      .filter(({ lineage }) => lineage.length === 1)
      .map(row),
  ].join('\n')
}

/** The rules in their order, as reasons: which words of a path they mean stands in the source. */
export const rulesTable = (): string =>
  [
    '| provider | access | because |',
    '|---|---|---|',
    ...Object.entries(RULES).flatMap(([provider, rules]) =>
      rules.map(({ is, why }) => `| ${provider} | ${is} | ${why} |`),
    ),
  ].join('\n')
