import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { OWN_OPERATION, withOwn } from '../../proxy/config/own_operations.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'

const { providers } = compileProviders(
  readProviderFiles(join(import.meta.dirname, '../../providers')),
)
const named = (id: string, own: Parameters<typeof withOwn>[1]) => {
  const problems: string[] = []
  const provider = providers.get(id)
  if (provider === undefined) throw new Error(`there is no ${id}`)
  const made = withOwn(provider, own, (what) => void problems.push(what))
  return { rows: made.operations.slice(provider.operations.length), problems }
}

describe('operations that an operator names', () => {
  test('are calls, or root fields of the provider’s GraphQL endpoint; no source says their scopes', () => {
    const { rows, problems } = named('github', {
      'reports.get': 'read GET /reports/{id}',
      'reports.both': ['write PUT /reports/{id}', 'write POST https://uploads.github.com/reports'],
      'my.field': 'admin mutation somethingNew',
    })
    expect(problems).toEqual([])
    expect(rows).toMatchObject([
      { id: 'reports.get', access: 'read', method: 'GET', path: '/reports/{id}', scopes: [] },
      { id: 'reports.both', method: 'PUT', host: null },
      { id: 'reports.both', method: 'POST', host: 'uploads.github.com', path: '/reports' },
      { id: 'my.field', graphql: 'mutation somethingNew', path: '/graphql', access: 'admin' },
    ])
  })

  test.each([
    [
      { 'my.issue': 'read POST /repos/{a}/{b}/issues' },
      'my.issue: this call is operation issues.create already',
    ],
    [
      { 'issues.create': 'read GET /reports' },
      'issues.create: is an operation of access write already',
    ],
    [{ unknown: 'read GET /reports' }, 'unknown: unknown is an id of deputy’s own'],
    [{ x: 'read GET /a//b' }, 'x: /a//b: segment "" is neither a literal'],
    [{ x: 'read mutation somethingNew' }, 'x: mutation somethingNew: a mutation is no read'],
    [{ x: 'read GET https://x.example/a' }, 'x: x.example is not among this provider’s hosts'],
    [{ x: 'read GET /graphql' }, 'x: /graphql is a GraphQL endpoint: name its root fields'],
  ])('%j is refused', (own, problem) => {
    expect(named('github', own).problems[0]).toContain(problem)
  })

  test('a provider without GraphQL has no root fields', () => {
    expect(named('hubspot', { x: 'read query viewer' }).problems).toEqual([
      'x: HubSpot has no GraphQL endpoint in its catalogue',
    ])
  })

  test.each(['GET /x', 'read get /x', 'read GET x', 'read query', 'root GET /x', 'read GET /x y'])(
    '%s is no line',
    (line) => expect(OWN_OPERATION.test(line)).toBe(false),
  )
})
