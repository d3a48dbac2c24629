import { describe, expect, test } from 'vitest'
import { pathsIn } from '../../proxy/consent/paths.ts'
import type { Connection } from '../../proxy/model.ts'
import { provider } from '../wire/fixture.ts'

const connection: Connection = {
  name: 'github',
  provider: { ...provider, id: 'ghe', lineage: ['ghe', 'github'] },
  clientId: 'x',
  clientSecret: null,
  scopes: [],
}
const list = { id: 'issues.list', path: '/repos/{owner}/{repo}/issues', access: 'read' } as const
const row = (path: unknown, more: object = {}) => ({
  path,
  operations: ['issues.*'],
  access: ['read'],
  ...more,
})
const paths = (rows: object, operation: Parameters<typeof pathsIn>[2] = list) =>
  pathsIn({ github: rows } as never, connection, operation).map((path) => path.join('/'))

describe('paths that rows name for an operation', () => {
  test('are its template with what rows say in place of parameters', () => {
    expect(paths({ a: row(['repos', 'acme', '*', '**']) })).toEqual(['repos/acme/{repo}/issues'])
    expect(paths({ a: row(['repos', 'acme', 'public-*', 'issues']) })).toEqual([
      'repos/acme/public-*/issues',
    ])
    // What the template itself says stays.
    expect(paths({ a: row(['rep*', 'acme', '*', 'iss*']) })).toEqual(['repos/acme/{repo}/issues'])
  })

  test('are of rows that reach the operation, and say more than the template', () => {
    const rows = {
      wide: row(['**']),
      other: row(['repos', 'a', '**'], { operations: ['pulls.*'] }),
      write: row(['repos', 'b', '**'], { access: ['write'] }),
      short: row(['repos', 'c']),
      elsewhere: row(['orgs', '**']),
      odd: row(7),
      none: null,
    }
    expect(paths(rows)).toEqual([])
    expect(pathsIn(null, connection, list)).toEqual([])
  })

  test('are eight at most, and `{path+}` takes one segment or more', () => {
    const many = Array.from({ length: 20 }, (_, i) => [`r${i}`, row(['repos', `o${i}`, '**'])])
    expect(paths(Object.fromEntries(many))).toHaveLength(8)
    const file = { ...list, path: '/repos/{owner}/{repo}/contents/{path+}' }
    expect(paths({ a: row(['repos', '*', '*', 'contents', 'docs', 'a', '**']) }, file)).toEqual([
      'repos/{owner}/{repo}/contents/docs/a',
    ])
    const within = { ...list, path: '/drive/root:/{path+}:/content' }
    expect(paths({ a: row(['drive', 'root:', 'public', '*', 'content']) }, within)).toEqual([
      'drive/root:/public/{path+}:/content',
    ])
  })
})
