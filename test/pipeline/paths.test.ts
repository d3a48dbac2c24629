import { expect, test } from 'vitest'
import { parseProvider } from '../../proxy/providers/parse.ts'
import { createClassify } from '../../proxy/pipeline/classify.ts'
import { buildRoutes, matchRoute } from '../../proxy/pipeline/route.ts'

const readNotes = (extra: object) => {
  const parsed = parseProvider(
    {
      id: 'acme',
      authorize: 'https://acme.example/a',
      token: 'https://acme.example/t',
      hosts: ['api.acme.example'],
      operations: [
        { id: 'notes.list', method: 'GET', path: '/notes', access: 'read', scopes: [[]] },
        { id: 'root', method: 'GET', path: '/', access: 'read', scopes: [[]] },
        { id: 'graph', method: 'POST', path: '/graph', access: 'read', scopes: [[]] },
      ],
      ...extra,
    },
    'acme.yaml',
  )
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  const connection = {
    name: 'acme',
    provider: parsed.provider,
    clientId: 'c',
    clientSecret: null,
    scopes: [],
  }
  const table = buildRoutes([connection])
  const classify = createClassify([parsed.provider])
  return (path: string, method = 'GET') => {
    const headers = { host: '127.0.0.1:7410' }
    const route = matchRoute(table, { url: `/api.acme.example${path}`, method, headers }, null)
    return [classify(route).operation.id, route.target.path]
  }
}

test('a prefix that the definition names leads to the same operation, and is not sent on', () => {
  const read = readNotes({ prefixes: { '/api/v3': '', '/api/graph': '/graph' } })
  expect(read('/api/v3/notes?page=2')).toEqual(['notes.list', '/notes'])
  expect(read('/api/graph', 'POST')).toEqual(['graph', '/graph'])
  // Only whole segments, once, and as they are written.
  for (const [other, sent] of [
    ['/api/v30/notes', '/api/v30/notes'],
    ['/api/v3/api/v3/notes', '/api/v3/notes'],
    ['/API/v3/notes', '/API/v3/notes'],
    ['/api/%763/notes', '/api/%763/notes'],
  ] as const)
    expect(read(other), other).toEqual(['unknown', sent])
  // The prefix alone is the root.
  for (const bare of ['/api/v3', '/api/v3?page=2', '/api/v3/'])
    expect(read(bare), bare).toEqual(['root', '/'])
  expect(readNotes({})('/api/v3/notes')[0]).toBe('unknown')
})

test('a slash at the end is another resource unless the definition says that it is ignored', () => {
  expect(readNotes({})('/notes/')).toEqual(['unknown', '/notes/'])
  const lenient = readNotes({ trailing_slash: 'ignored' })
  expect(lenient('/notes/')).toEqual(['notes.list', '/notes/'])
  expect(lenient('/')).toEqual(['root', '/'])
  expect(lenient('/notes/7')).toEqual(['unknown', '/notes/7'])
  expect(() => lenient('/notes//')).toThrow('segment 2 of the path is empty')
})
