// `deputy providers list | show`: what the shipped definitions say. `test` is in quirks/.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { compileProviders } from '../providers/parse.ts'
import type { OperationRow, Provider } from '../model.ts'

export type Print = (line: string) => void

/** The definitions and catalogues of a folder, parsed, by `providers/<name>`; throws on YAML that does not parse. */
export const readProviderFiles = (dir: string): ReadonlyMap<string, unknown> =>
  new Map(
    readdirSync(dir)
      .filter((name) => /(?<!\.tools)\.(?:ya?ml|json)$/.test(name))
      .sort()
      .map((name): [string, unknown] => {
        try {
          return [`providers/${name}`, parse(readFileSync(join(dir, name), 'utf8'))]
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

const scopesOf = (row: OperationRow): string =>
  row.scopes.map((set) => (set.length === 0 ? '-' : set.join('+'))).join(' | ')

const OWN = 'none: the connection names yours'
/** `*.my.salesforce.com`: each person's own, told by the token. */
const suffixes = ({ hostFromToken }: Provider): string =>
  hostFromToken
    ? `each person’s own: ${hostFromToken.suffixes.map((one) => `*${one}`).join(' ')}`
    : ''

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
    [
      'present',
      `${provider.present.header}: ${provider.present.scheme} {token}`.replace('  ', ' '),
    ],
    ['rewrite', provider.rewrite.join(', ')],
  ]
  return found.flatMap(([key, value]) => (value === null || value === '' ? [] : [[key, value]]))
}

const compiled = (dir: string, print: Print): ReadonlyMap<string, Provider> | null => {
  const { providers, problems } = compileProviders(readProviderFiles(dir))
  for (const problem of problems) print(problem)
  return problems.length === 0 ? providers : null
}

/** Prints one line a provider. @returns the exit code: 1 when a definition has problems */
export const providersList = ({ print, dir }: { print: Print; dir: string }): number => {
  const providers = compiled(dir, print)
  if (providers === null) return 1
  const rows = [...providers.values()].map((provider) => [
    provider.id,
    provider.name,
    `${provider.operations.length}`,
    [...provider.hosts.keys()].join(' ') || suffixes(provider) || OWN,
  ])
  columns([['ID', 'NAME', 'OPERATIONS', 'HOSTS'], ...rows]).forEach((line) => print(line))
  return 0
}

/** Prints one provider with its catalogue. @returns the exit code: 1 when there is none of that id */
export const providersShow = ({
  id,
  print,
  dir,
}: {
  id: string
  print: Print
  dir: string
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
