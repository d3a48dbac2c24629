// `deputy providers list | show`: what the shipped definitions say. `test` is in quirks/.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { describe, type DescribedOperation } from '../providers/parameters.ts'
import { compileProviders } from '../providers/parse.ts'
import type { OperationRow, Provider } from '../model.ts'

export type Print = (line: string) => void

/** The definitions and catalogues of a folder, parsed, by `providers/<name>`; throws on YAML that does not parse. */
export const readProviderFiles = (dir: string): ReadonlyMap<string, unknown> =>
  new Map(
    readdirSync(dir)
      .filter((name) => /(?<!\.(?:tools|parameters))\.(?:ya?ml|json)$/.test(name))
      .sort()
      .map((name): [string, unknown] => {
        try {
          const text = readFileSync(join(dir, name), 'utf8')
          return [`providers/${name}`, name.endsWith('.json') ? JSON.parse(text) : parse(text)]
        } catch (cause) {
          throw new Error(`${join(dir, name)}: ${String(cause)}`, { cause })
        }
      }),
  )

const columns = (rows: readonly (readonly string[])[]): string[] => {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

const scopesOf = ({ scopes }: Pick<OperationRow, 'scopes'>): string =>
  scopes.length === 0
    ? 'not told'
    : scopes.map((set) => (set.length === 0 ? '-' : set.join('+'))).join(' | ')

const OWN = 'none: the connection names yours'
/** `*.my.salesforce.com`: each person's own, told by the token. */
const suffixes = ({ hostFromToken }: Provider): string =>
  hostFromToken
    ? `each person’s own: ${hostFromToken.suffixes.map((one) => `*${one}`).join(' ')}`
    : ''

const presentation = ({ present: { header, scheme, pair } }: Provider): string => {
  const token = pair === undefined ? '{token}' : `base64(${pair.before}{token}${pair.after})`
  return `${header}: ${scheme} ${token}`.replace('  ', ' ')
}
const refreshing = ({ refresh, rotation, lostResponse, refreshIdleDays }: Provider): string =>
  refresh === null
    ? 'never'
    : `rotation ${rotation}, lost answer recoverable: ${lostResponse}${refreshIdleDays ? `, unused for ${refreshIdleDays} days ends it` : ''}`

const facts = (provider: Provider): [string, string][] => {
  const origins = (map: ReadonlyMap<string, string>): string =>
    [...map].map(([name, at]) => (at === `https://${name}` ? name : `${name} at ${at}`)).join(', ')
  const found: [string, string | null][] = [
    ['id', provider.id],
    ['name', provider.name],
    ['credential', provider.credential],
    ['hosts', origins(provider.hosts) || suffixes(provider) || OWN],
    ['assets', origins(provider.assets)],
    ['issuer', provider.issuer],
    ['authorize', provider.authorize],
    ['token', provider.token],
    ['userinfo', provider.userinfo],
    ['revoke', provider.revoke && `${provider.revoke} (${provider.revokeStyle})`],
    ['client_auth', provider.clientAuth],
    ['pkce', provider.pkce ? 'S256' : 'no'],
    ['always asked for', (provider.scopeAlways ?? []).join(' ')],
    ['slots', [...(provider.slots?.keys() ?? [])].join(', ')],
    ['account', provider.account && `from ${provider.account.from}`],
    ['refresh', refreshing(provider)],
    ['pushed requests', provider.par ?? null],
    ['asked of the issuer', (provider.discover?.left ?? []).join(', ')],
    ['present', presentation(provider)],
    ['rewrite', provider.rewrite.join(', ')],
  ]
  return found.flatMap(([key, value]) => (value === null || value === '' ? [] : [[key, value]]))
}

const compiled = (dir: string, print: Print): ReadonlyMap<string, Provider> | null => {
  const { providers, problems } = compileProviders(readProviderFiles(dir))
  for (const problem of problems) print(problem)
  return problems.length === 0 ? providers : null
}

/** Its operations, and those of which a source says what scopes suffice. */
const counted = ({ operations }: Provider): readonly string[] => {
  const all = new Set(operations.map(({ id }) => id))
  const told = new Set(operations.filter(({ scopes }) => scopes.length > 0).map(({ id }) => id))
  return [`${all.size}`, `${told.size}`]
}

/** Prints one line a provider. @returns the exit code: 1 when a definition has problems */
export const providersList = ({ print, dir }: { print: Print; dir: string }): number => {
  const providers = compiled(dir, print)
  if (providers === null) return 1
  const rows = [...providers.values()].map((provider) => [
    provider.id,
    provider.name,
    ...counted(provider),
    [...provider.hosts.keys()].join(' ') || suffixes(provider) || OWN,
  ])
  columns([['ID', 'NAME', 'OPERATIONS', 'WITH SCOPES', 'HOSTS'], ...rows]).forEach((line) =>
    print(line),
  )
  return 0
}

const callOf = ({ method, host, path, graphql }: DescribedOperation): string =>
  graphql ?? `${method} ${host ?? ''}${path}`

/** What each operation means, to be read through: by access, then by the scopes that suffice, with the vendor's line on it. */
const grouped = (provider: Provider, dir: string): readonly string[] => {
  const file = provider.lineage
    .map((id) => join(dir, `${id}.parameters.json`))
    .find((path) => existsSync(path))
  const texts: unknown = file === undefined ? undefined : JSON.parse(readFileSync(file, 'utf8'))
  const described = [...describe(provider, texts)]
  return (['admin', 'delete', 'write', 'read'] as const).flatMap((access) => {
    const groups = new Map<string, string[][]>()
    for (const [id, one] of described) {
      if (one.access !== access) continue
      const scopes = scopesOf(one)
      const rows = groups.get(scopes) ?? []
      groups.set(scopes, rows)
      rows.push([`  ${id}`, callOf(one), one.summary])
    }
    const number = [...groups.values()].reduce((sum, rows) => sum + rows.length, 0)
    return [
      `${access}: ${number}`,
      ...[...groups].flatMap(([scopes, rows]) => ['', ` scopes: ${scopes}`, ...columns(rows)]),
      '',
    ]
  })
}

/** Prints one provider with its catalogue. @returns the exit code: 1 when there is none of that id */
export const providersShow = ({
  id,
  print,
  dir,
  operations = false,
}: {
  id: string
  print: Print
  dir: string
  operations?: boolean | undefined
}): number => {
  const providers = compiled(dir, print)
  if (providers === null) return 1
  const provider = providers.get(id)
  if (provider === undefined) {
    print(
      `there is no provider ${JSON.stringify(id)}; there are ${[...providers.keys()].join(', ')}`,
    )
    return 1
  }
  if (operations) {
    grouped(provider, dir).forEach((line) => print(line))
    return 0
  }
  columns(facts(provider)).forEach((line) => print(line))
  print('')
  const rows = provider.operations.map((row) => [
    row.id,
    row.access,
    row.method,
    [`${row.host ?? ''}${row.path}`, row.graphql, row.mcp]
      .filter((part) => part !== undefined)
      .join(' '),
    scopesOf(row),
  ])
  columns([['OPERATION', 'ACCESS', 'METHOD', 'PATH', 'SCOPES'], ...rows]).forEach((line) =>
    print(line),
  )
  return 0
}
