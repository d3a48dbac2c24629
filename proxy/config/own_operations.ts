// `connections.NAME.operations`: calls that the catalogue does not name, each named by its operator in one line.
import type { Access, OperationRow, Provider } from '../model.ts'
import { beside, readCatalogue } from '../providers/catalogue.ts'

type Own = Readonly<Record<string, string | readonly string[]>>
type Report = (what: string) => void

export const OWN_OPERATION =
  /^(read|write|delete|admin) (?:(?<method>[A-Z]{1,20}) (?:https:\/\/(?<host>[\w.-]+))?(?<path>\/\S*)|(?<field>(?:query|mutation) [_A-Za-z]\w*))$/
const ACCESS: readonly Access[] = ['read', 'write', 'delete', 'admin']

const rowOf = (id: string, line: string, endpoint: OperationRow | undefined) => {
  const found = OWN_OPERATION.exec(line)
  const access = ACCESS.find((one) => one === found?.[1]) ?? 'admin'
  const { method = 'POST', host, path = endpoint?.path ?? '', field } = found?.groups ?? {}
  const at = { id, access, scopes: [[]], method, path, host: host ?? endpoint?.host ?? null }
  return { row: at, graphql: field }
}

/** The provider with these operations too; which scopes they need nobody says, so a consent asks for the connection's. */
export const withOwn = (provider: Provider, own: Own, report: Report): Provider => {
  const lines = Object.entries(own).flatMap(([id, calls]) =>
    [calls].flat().map((line) => [id, line] as const),
  )
  if (lines.length === 0) return provider
  const endpoint = provider.operations.find(({ graphql }) => graphql !== undefined)
  const serving = { serves: (host: string) => provider.hosts.has(host), inherited: false }
  const rows = lines.flatMap(([id, line]) => {
    const { row, graphql } = rowOf(
      id,
      line,
      / (?:query|mutation) /.test(line) ? endpoint : undefined,
    )
    if (graphql !== undefined && endpoint === undefined) {
      report(`${id}: ${provider.name} has no GraphQL endpoint in its catalogue`)
      return []
    }
    const { host, access, path } = row
    const listed =
      graphql === undefined
        ? row
        : { graphql: `POST ${path}`, host, scopes: [[]], [access]: { [id]: graphql } }
    return readCatalogue([listed], provider.id, serving, (_, what) => report(`${id}: ${what}`))
  })
  const untold = rows.map((row) => ({ ...row, scopes: [] }))
  return { ...provider, operations: beside(provider.operations, untold, report) }
}
