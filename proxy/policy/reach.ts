// Finds rows that cover no call at all, because the catalogues of the providers in use have nothing
// that they ask for. Pure.
import type { OperationRow, Provider } from '../model.ts'
import { remembered } from '../memo.ts'
import { concerns, fits } from '../wire/pattern.ts'
import type { Ceilings, Grants, Row } from './tables.ts'

type Kind = Row['kinds'][number]
type Known = {
  readonly id: string
  readonly kind: Kind
  readonly access: OperationRow['access']
  readonly template: readonly string[]
  /** JSON pointers that policy sees. */
  readonly inspect: readonly string[]
  /** It writes or sends a mail. */
  readonly mails: boolean
}
/** Of a provider, what rows are compared with. */
export type Catalogue = Pick<Provider, 'id' | 'operations' | 'assets' | 'mcp'>
type Member = 'kinds' | 'access' | 'path' | 'arguments' | 'mail'

/**
 * Is there a path that both allow? `template` as the catalogue writes it (`a`, `{b}`, `{c+}`); in
 * `pattern` a `*` is any segment, a last `**` any rest, also none.
 */
const meet = (template: readonly string[], pattern: readonly string[]): boolean => {
  const [want, ...others] = pattern
  const [has, ...after] = template
  if (want === '**' && others.length === 0) return true
  if (want === undefined || has === undefined) return want === has
  if (!fits(want, has) && !(has.startsWith('{') && want !== '')) return false
  // `{c+}` takes one segment or more.
  return meet(after, others) || (/\+\}:?$/.test(has) && meet(template, others))
}

const FITS: Readonly<Record<Member, (row: Row, one: Known) => boolean>> = {
  kinds: (row, { kind }) => row.kinds.includes(kind),
  access: (row, { access }) => row.access.includes(access),
  path: (row, { template }) => meet(template, row.path),
  mail: (row, { mails }) => Object.keys(row.mail).length === 0 || mails,
  arguments: (row, { kind, inspect }) =>
    row.arguments.every(({ pointer }) =>
      pointer.startsWith('?') ? kind === 'rest' || kind === 'asset' : inspect.includes(pointer),
    ),
}
const MEMBERS: readonly Member[] = ['kinds', 'access', 'path', 'mail', 'arguments']

const knownOf = ({ id, operations, assets, mcp }: Catalogue): readonly Known[] => {
  const calls = operations.map((one): Known => ({
    id: one.id,
    kind: mcp ? 'mcp' : one.graphql === undefined ? 'rest' : 'graphql',
    access: one.access,
    template: one.path.slice(1).split('/'),
    inspect: one.inspect,
    mails: one.mail !== undefined,
  }))
  const download = {
    kind: 'asset',
    access: 'read',
    template: ['{rest+}'],
    inspect: [],
    mails: false,
  } as const
  return assets.size === 0 ? calls : [...calls, { id: `${id}.asset`, ...download }]
}

/** Budgets of a member that none of these operations inspects: every call would be refused. */
const uncounted = (
  row: Row,
  provider: string,
  covers: (also: (one: Known) => boolean) => boolean,
): readonly string[] =>
  Object.entries(row.obligations).flatMap(([name, one]) => {
    if (one.type !== 'budget' || one.properties.pointer === 'request.mail') return []
    const { pointer } = one.properties
    return covers(({ inspect }) => inspect.includes(pointer))
      ? []
      : [
          `obligations.${name}: no operation of ${provider} that the row covers inspects ${pointer}, so it would refuse them all`,
        ]
  })

/** What in one row never matches, as `member: why`. */
const vain = (
  row: Row,
  provider: string,
  having: (name: string) => readonly Known[],
): readonly string[] => {
  const dead = row.operations
    .filter((name) => having(name).length === 0)
    .map((name) => `operations: the catalogue of ${provider} has no ${JSON.stringify(name)}`)
  // The first that fits is enough: a row may name a thousand.
  const covers = (also: (one: Known) => boolean): boolean =>
    row.operations.some((name) =>
      having(name).some((one) => also(one) && MEMBERS.every((member) => FITS[member](row, one))),
    )
  if (covers(() => true)) return [...dead, ...uncounted(row, provider, covers)]
  let left = row.operations.flatMap(having)
  for (const member of MEMBERS) {
    if (left.length === 0) break
    left = left.filter((one) => FITS[member](row, one))
    if (left.length === 0)
      return [
        ...dead,
        `${member}: no operation of ${provider} fits ${JSON.stringify(row[member])} and the rest of the row, so it never matches`,
      ]
  }
  return dead
}

/**
 * What in these rows never matches a call, as `provider.row.member: why`.
 * @param providers those that connections use; rows of others are not judged
 */
export const unreachable = (grants: Grants, providers: Iterable<Catalogue>): readonly string[] => {
  const byId = new Map([...providers].map((provider) => [provider.id, provider]))
  return Object.entries(grants).flatMap(([id, rows]) => {
    const provider = byId.get(id)
    if (provider === undefined) return []
    const known = knownOf(provider)
    // Thousands of rows name the same few operations.
    const having = remembered(
      (name: string): readonly Known[] =>
        name === '*' ? known : known.filter(({ id }) => concerns(name, id)),
      1_000,
      200,
    )
    return Object.entries(rows).flatMap(([name, row]) =>
      vain(row, id, having).map((what) => `${id}.${name}.${what}`),
    )
  })
}

/** What the table agents names that is not there, as `agent.row.member: why`. */
export const unknownIn = (
  agents: Ceilings,
  providers: readonly Catalogue[],
  connections: Iterable<string>,
): readonly string[] => {
  const names = new Set(connections)
  const known = providers.flatMap(knownOf)
  return Object.entries(agents).flatMap(([agent, rows]) =>
    rows.flatMap((row, i) => [
      ...row.connections
        .filter((name) => name !== '*' && !names.has(name))
        .map((name) => `${agent}.${i}.connections: there is no connection ${JSON.stringify(name)}`),
      ...row.operations
        .filter((name) => !known.some(({ id }) => concerns(name, id)))
        .map((name) => `${agent}.${i}.operations: no catalogue in use has ${JSON.stringify(name)}`),
    ]),
  )
}
