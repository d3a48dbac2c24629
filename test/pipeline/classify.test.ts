// Which operation a call is: rows of a catalogue against decoded segments, and what fits none.
import { describe, expect, test } from 'vitest'
import type { OperationRow, Provider, ReadField, RootField, Route } from '../../proxy/model.ts'
import { createClassify, followedBy, opened, type Act } from '../../proxy/pipeline/classify.ts'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'
import { codeOf, provider } from '../wire/fixture.ts'

const row = (id: string, method: string, path: string, more: Partial<OperationRow> = {}) => ({
  id,
  method,
  path,
  access: 'read' as const,
  scopes: [[]],
  inspect: [],
  upload: false,
  rewrite: [],
  host: null,
  ...more,
})
const acme: Provider = {
  ...provider,
  hosts: new Map([
    ['api.acme.example', 'https://api.acme.example'],
    ['up.acme.example', 'https://up.acme.example'],
  ]),
  assets: new Map([['dl.acme.example', 'https://dl.acme.example']]),
  operations: [
    row('root', 'GET', '/'),
    row('me', 'GET', '/users/me'),
    row('user', 'GET', '/users/{id}'),
    row('key', 'GET', '/users/me/keys/{key}'),
    row('address', 'GET', '/users/{id}/address'),
    row('rename', 'PUT', '/users/{id}'),
    row('file', 'GET', '/files/{path+}'),
    row('file.write', 'PUT', '/files/{path+}'),
    row('file.info', 'GET', '/files/{path+}/info'),
    row('label', 'GET', '/labels/{name+}/use'),
    row('upload', 'POST', '/assets', { host: 'up.acme.example' }),
    row('query.issues', 'POST', '/graphql', { graphql: 'query issues' }),
    row('mutation.close', 'POST', '/graphql', { graphql: 'mutation close', access: 'write' }),
  ],
}
const classify = createClassify([acme])
const routeTo = (method: string, path: string, more: Partial<Route> = {}): Route => ({
  connection: { name: 'acme', provider: acme, clientId: 'c', clientSecret: null, scopes: [] },
  host: 'api.acme.example',
  origin: 'https://api.acme.example',
  authority: 'api.acme.example',
  port: 443,
  asset: false,
  addressing: { kind: 'absolute' },
  named: null,
  target: canonicalTarget(method, path),
  ...more,
})
const idOf = (method: string, path: string, more: Partial<Route> = {}): string =>
  classify(routeTo(method, path, more)).operation.id

describe('verbs and trailing slashes', () => {
  const docs: Provider = {
    ...acme,
    trailingSlash: true,
    operations: [
      row('root', 'GET', '/'),
      row('doc', 'GET', '/docs/{id}'),
      row('doc.run', 'POST', '/docs/{id}:run'),
      row('doc.more', 'GET', '/docs/{id}/more'),
      row('item', 'GET', '/items/{id}:/content'),
      row('user', 'GET', '/users/{id}'),
    ],
  }
  const of = createClassify([docs])
  const connection = { name: 'acme', provider: docs, clientId: 'c', clientSecret: null, scopes: [] }
  test.each([
    ['GET', '/docs/abc', 'doc'],
    ['POST', '/docs/abc:run', 'doc.run'],
    ['GET', '/docs/x:run/more', 'doc.more'],
    ['GET', '/docs/x:walk', 'unknown'],
    ['GET', '/users/a:word', 'user'],
    ['GET', '/items/a:/content', 'item'],
    ['GET', '/items/:/content', 'unknown'],
    ['GET', '/docs/abc/', 'doc'],
    ['GET', '/', 'root'],
  ])('%s %s is %s', (method, path, id) => {
    expect(of(routeTo(method, path, { connection })).operation.id).toBe(id)
  })
  test('a trailing slash is another resource where the provider does not say otherwise', () => {
    expect(idOf('GET', '/users/me/')).toBe('unknown')
  })
})

describe('a batch', () => {
  const envelopes: Provider['envelopes'] = [
    {
      format: 'graph_batch',
      method: 'POST',
      segments: ['v1', '$batch'],
      host: null,
      rewrite: ['/x'],
    },
    {
      format: 'multipart_batch',
      method: 'POST',
      segments: ['batch', '{api}'],
      host: 'up.acme.example',
      rewrite: [],
    },
  ]
  const connection = {
    name: 'acme',
    provider: { ...acme, envelopes },
    clientId: 'c',
    clientSecret: null,
    scopes: [],
  }
  const at = (method: string, path: string, host = 'api.acme.example') =>
    classify(routeTo(method, path, { connection, host }))
  const up = 'up.acme.example'
  test.each([
    ['POST', '/v1/$batch', undefined, 'graph_batch'],
    ['POST', '/v1/$batch', up, 'graph_batch'],
    ['GET', '/v1/$batch', undefined, undefined],
    ['POST', '/v2/$batch', undefined, undefined],
    ['POST', '/v1/$batch/x', undefined, undefined],
    ['POST', '/v1', undefined, undefined],
    ['POST', '/batch/drive', up, 'multipart_batch'],
    ['POST', '/batch/drive', undefined, undefined],
    ['POST', '/batch/', up, undefined],
    ['POST', '/other/drive', up, undefined],
  ])('%s %s at %s is %s', (method, path, host, format) => {
    expect(at(method, path, host).envelope?.format).toBe(format)
  })
  test('is no address that can be followed without a key', () => {
    const route = routeTo('GET', '/users/me', { connection })
    const known = createClassify([connection.provider])
    const methods = (text: string) => followedBy(known, route, 'api.acme.example', text)
    expect(methods('/users/me')).toEqual(['GET', 'PUT'])
    expect(methods('/v1/$batch')).toEqual([])
  })
  test('is one operation for each row, whose answers are rewritten as it says', () => {
    const [first, second] = [at('POST', '/v1/$batch'), at('POST', '/batch/drive', up)]
    expect([first, second].map(({ operation }) => [operation.id, operation.rewrite])).toEqual([
      ['batch', ['/x']],
      ['batch', []],
    ])
    expect(at('POST', '/v1/$batch').operation).toBe(first?.operation)
  })
})

describe('a row fits', () => {
  test.each([
    ['GET', '/users/me', 'me'],
    ['HEAD', '/users/me', 'me'],
    ['GET', '/users/alice', 'user'],
    ['PUT', '/users/alice', 'rename'],
    // The literal has no row for it, or leads nowhere: the parameter does.
    ['PUT', '/users/me', 'rename'],
    ['GET', '/users/me/address', 'address'],
    ['GET', '/users/me/keys/1', 'key'],
    ['GET', '/files/a', 'file'],
    ['GET', '/files/a/b/c', 'file'],
    ['GET', '/files/a%2Fb', 'file'],
    ['PUT', '/files/a/info', 'file.write'],
    ['GET', '/files/a%2Fb/info', 'file.info'],
    ['GET', '/labels/a%2Fb/use', 'label'],
    ['GET', '/labels/a/use', 'label'],
    ['GET', '/', 'root'],
  ])('%s %s is %s', (method, path, id) => {
    expect(idOf(method, path)).toBe(id)
  })

  test.each([
    ['DELETE', '/users/me'],
    ['GET', '/users'],
    ['GET', '/users/'],
    ['GET', '/users/alice/'],
    ['GET', '/users/alice/keys/1'],
    ['GET', '/files'],
    ['GET', '/files/'],
    ['GET', '/labels/'],
    ['GET', '/labels/a/b/use'],
    ['POST', '/files/a'],
    ['HEAD', '/graphql'],
  ])('%s %s fits none, and is an unknown call that asks for the freshest facts', (method, path) => {
    const act = classify(routeTo(method, path))
    expect(act).toMatchObject({ operation: { id: 'unknown', access: 'admin' }, kind: 'rest' })
    expect(act.fields).toBeUndefined()
  })

  test('on its own host only', () => {
    expect(idOf('POST', '/assets', { host: 'up.acme.example' })).toBe('upload')
    expect(idOf('POST', '/assets')).toBe('unknown')
    expect(idOf('GET', '/users/me', { host: 'up.acme.example' })).toBe('me')
    expect(idOf('GET', '/users/me', { host: 'elsewhere.example' })).toBe('unknown')
  })

  test('of a provider that is not served there is none', () => {
    const other = { ...routeTo('GET', '/users/me').connection, provider: { ...acme } }
    expect(idOf('GET', '/users/me', { connection: other })).toBe('unknown')
  })
})

describe('an encoded slash', () => {
  test('separates segments within a last rest, as at the provider, and nowhere else', () => {
    expect(classify(routeTo('GET', '/files/a%2Fb/c')).segments).toEqual(['files', 'a', 'b', 'c'])
    expect(classify(routeTo('GET', '/files/a/b')).segments).toEqual(['files', 'a', 'b'])
    expect(classify(routeTo('GET', '/labels/a%2Fb/use')).segments).toEqual(['labels', 'a/b', 'use'])
  })

  test.each(['/users/a%2Fb', '/users%2Fme', '/nowhere/a%2Fb', '/users/a%2Fb/address'])(
    '%s is refused: no row allows one there',
    (path) => {
      expect(codeOf(() => classify(routeTo('GET', path)))).toBe('request_invalid')
    },
  )
})

describe('hosts', () => {
  test('an asset is read, and nothing else is done there', () => {
    const asset = { host: 'dl.acme.example', asset: true }
    for (const method of ['GET', 'HEAD'])
      expect(classify(routeTo(method, '/a/b', asset))).toMatchObject({
        operation: { id: 'acme.asset', access: 'read' },
        kind: 'asset',
        segments: ['a', 'b'],
      })
    for (const method of ['POST', 'DELETE', 'OPTIONS'])
      expect(classify(routeTo(method, '/a/b', asset))).toMatchObject({
        operation: { id: 'unknown' },
        kind: 'rest',
      })
  })

  test('that only a person’s token tells have the rows of every host; a provider with hosts of its own has not', () => {
    const open = { ...acme, hostFromToken: { pointer: '/host', suffixes: ['.my.example'] } }
    const none = { ...open, hosts: new Map<string, string>() }
    const at = (which: Provider): string => {
      const connection = { ...routeTo('GET', '/').connection, provider: which }
      const route = routeTo('GET', '/users/me', { connection, host: 'alice.my.example' })
      return createClassify([which])(route).operation.id
    }
    expect(at(none)).toBe('me')
    expect(at(open)).toBe('unknown')
    expect(at({ ...acme, hosts: new Map() })).toBe('unknown')
  })
})

describe('a GraphQL call', () => {
  const route = routeTo('POST', '/graphql')
  const endpoint = classify(route)
  const field = (type: RootField['type'], name: string): RootField => ({
    type,
    name: '',
    fields: [name],
    depth: 1,
    types: [],
    selects: [],
  })
  const readAs = (one: RootField): ReadField => ({ field: one, given: () => ({}) })
  const open = (...inner: readonly RootField[]): Act => opened(endpoint, route, inner.map(readAs))

  test('is unknown until its body is read', () => {
    expect(endpoint).toMatchObject({ operation: { id: 'unknown' }, kind: 'graphql' })
    expect([...(endpoint.fields?.keys() ?? [])]).toEqual(['query issues', 'mutation close'])
  })
  test('of one field is that field', () => {
    const act = open(field('query', 'issues'))
    expect(act).toMatchObject({ operation: { id: 'query.issues' }, kind: 'graphql' })
    expect(act.parts).toBeUndefined()
    expect(act.graphql).toEqual(field('query', 'issues'))
  })
  test('of a field without a row is unknown, also where the other kind has one of that name', () => {
    expect(open(field('query', 'close')).operation).toMatchObject({
      id: 'unknown',
      access: 'admin',
    })
    expect(open().operation).toMatchObject({ id: 'unknown', access: 'admin' })
  })
  test('brings the arguments that its operation names, and no others', () => {
    const close = classify(routeTo('POST', '/graphql')).fields?.get('mutation close')
    if (close === undefined) throw new Error('the fixture has no such field')
    const named = { ...close, inspect: ['/id'] }
    const at = { ...endpoint, fields: new Map([['mutation close', named]]) }
    const given = (pointers: readonly string[]) => ({ [pointers.join()]: 'i-1' })
    const act = opened(at, route, [{ field: field('mutation', 'close'), given }])
    expect(act.graphql?.arguments).toEqual({ '/id': 'i-1' })
    expect(open(field('mutation', 'close')).graphql?.arguments).toBeUndefined()
  })
  test('of several is each of them', () => {
    const act = open(field('query', 'issues'), field('mutation', 'close'))
    expect(act.operation).toMatchObject({ id: 'graphql', access: 'admin' })
    expect(act.parts?.map(({ operation }) => operation.id)).toEqual([
      'query.issues',
      'mutation.close',
    ])
  })
  test('without a JSON body, or with a query in its URL, is refused', () => {
    expect(codeOf(() => opened(endpoint, route, undefined))).toBe('request_invalid')
    const twice = routeTo('POST', '/graphql?query=x')
    expect(codeOf(() => opened(classify(twice), twice, [readAs(field('query', 'issues'))]))).toBe(
      'request_invalid',
    )
  })
  test('is no other call', () => {
    const plain = classify(routeTo('GET', '/users/me'))
    expect(opened(plain, routeTo('GET', '/users/me?query=x'), undefined)).toBe(plain)
  })
})

describe('an address in an answer', () => {
  const route = routeTo('GET', '/users/me')
  const methods = (host: string, text: string) => followedBy(classify, route, host, text)

  test.each([
    ['api.acme.example', '/users/me', ['GET', 'PUT']],
    ['api.acme.example', '/users/alice/address', ['GET']],
    ['up.acme.example', '/assets', ['POST']],
    ['api.acme.example', '/assets', []],
    ['dl.acme.example', '/a/b', ['GET']],
    // Nobody could follow these: no one path, an encoded slash that no row allows.
    ['api.acme.example', '/users/../users/me', []],
    ['api.acme.example', '/users/a%2Fb', []],
  ])('at %s %s can be followed by %j', (host, text, expected) => {
    expect(methods(host, text)).toEqual(expected)
  })

  test('of which deputy fails to say what it is, is a fault', () => {
    const broken = (): Act => {
      throw new TypeError('a fault')
    }
    expect(() => followedBy(broken, route, 'api.acme.example', '/')).toThrow('a fault')
  })
})

describe('a verb behind a parameter', () => {
  const sheets: Provider = {
    ...acme,
    operations: [
      row('values.get', 'GET', '/v4/sheets/{id}/values/{range}'),
      row('values.put', 'PUT', '/v4/sheets/{id}/values/{range}', { access: 'write' }),
      row('values.append', 'POST', '/v4/sheets/{id}/values/{range}:append', { access: 'write' }),
      row('sheet.update', 'POST', '/v4/sheets/{id}:batchUpdate', { access: 'write' }),
      row('sheet.get', 'GET', '/v4/sheets/{id}'),
      row('values.batchGet', 'GET', '/v4/sheets/{id}/values:batchGet'),
      row('item.children', 'GET', '/items/{id}/children'),
      row('item.put', 'PUT', '/items/{id}:/{name}:/content', { access: 'write' }),
    ],
  }
  const find = createClassify([sheets])
  const connection = {
    name: 'acme',
    provider: sheets,
    clientId: 'c',
    clientSecret: null,
    scopes: [],
  }
  test.each([
    ['POST', '/v4/sheets/s1/values/A1:append', 'values.append'],
    ['POST', '/v4/sheets/s1/values/A1:B2:append', 'values.append'],
    ['POST', '/v4/sheets/s1:batchUpdate', 'sheet.update'],
    ['GET', '/v4/sheets/s1/values/Sheet1!A1:B2', 'values.get'],
    ['GET', '/v4/sheets/s1', 'sheet.get'],
    ['PUT', '/items/a:/b.txt:/content', 'item.put'],
    ['GET', '/items/a/children', 'item.children'],
    // A verb is no part of a name, whatever the method; nor is a verb without a name, or one that is escaped.
    ['PUT', '/v4/sheets/s1/values/A1:append', 'unknown'],
    ['POST', '/v4/sheets/s1/values/:append', 'unknown'],
    ['POST', '/v4/sheets/s1/values/A1%3Aappend', 'unknown'],
    ['POST', '/v4/sheets/s1/values/A1:other', 'unknown'],
    ['GET', '/v4/sheets/s1/values/A1:other', 'unknown'],
    ['GET', '/v4/sheets/s1:other', 'unknown'],
    ['GET', '/v4/sheets/s1/values:batchGet', 'values.batchGet'],
    ['GET', '/v4/sheets/s1/values%3AbatchGet', 'unknown'],
    // Behind a last colon the path goes on in another way: `children` is the name of a file there.
    ['GET', '/items/a:/children', 'unknown'],
    ['GET', '/v4/sheets/s1:', 'unknown'],
  ])('%s %s is %s', (method, path, id) => {
    expect(find(routeTo(method, path, { connection })).operation.id).toBe(id)
  })
})

/** What a call of GET is to a provider; `%` stands for itself. */
const asked =
  (of: Provider) =>
  (path: string): string => {
    const { connection } = routeTo('GET', '/')
    const target = encodeURI(path).replaceAll('%25', '%')
    return createClassify([of])(
      routeTo('GET', target, { connection: { ...connection, provider: of } }),
    ).operation.id
  }

describe('a path within a path', () => {
  const drive = asked({
    ...acme,
    operations: [
      row('item', 'GET', '/drive/root:/{path+}'),
      row('item', 'GET', '/drive/root:/{path+}:'),
      row('content', 'GET', '/drive/root:/{path+}:/content'),
      row('version', 'GET', '/drive/items/{id}:/{path+}:/versions/{version}'),
    ],
  })
  test.each([
    ['/drive/root:/a.txt', 'item'],
    ['/drive/root:/a/b.txt', 'item'],
    ['/drive/root:/a/b.txt:', 'item'],
    ['/drive/root:/a.txt:/content', 'content'],
    ['/drive/root:/a/b/c.txt:/content', 'content'],
    ['/drive/root:/a/content', 'item'],
    ['/drive/items/1:/a/b:/versions/2', 'version'],
    // What follows is known at no item, or the path ends twice or nowhere: no name is made of it.
    ['/drive/root:/a.txt:/permissions', 'unknown'],
    ['/drive/root:/a:/b.txt:/content', 'unknown'],
    ['/drive/root:/a::/content', 'unknown'],
    ['/drive/root:/a:b/content', 'unknown'],
    ['/drive/root:/a:b:/content', 'unknown'],
    ['/drive/root:/:/content', 'unknown'],
    ['/drive/root:/a/', 'unknown'],
    ['/drive/root:', 'unknown'],
    ['/drive/items/1:/a/b:/versions', 'unknown'],
  ])('%s is %s', (path, id) => {
    expect(drive(path)).toBe(id)
  })
  test('holds no encoded slash', () => {
    expect(codeOf(() => drive('/drive/root:/a%2Fb:/content'))).toBe('request_invalid')
  })
})

describe('a function with its arguments', () => {
  const odata = asked({
    ...acme,
    operations: [
      row('search', 'GET', "/drive/search(q='{q}')"),
      row('cell', 'GET', '/sheets/{id}/cell(row={row},column={column})'),
      row('sheet', 'GET', '/sheets/{id}'),
      row('range', 'GET', "/sheets/{id}/range(address='{address}')/format"),
      row('tab', 'GET', '/sheets/{id}/{tab}'),
      row('changes', 'GET', '/mails/delta()'),
      row('mail', 'GET', '/mails/{id}'),
      row('tab.format', 'GET', '/sheets/{id}/{tab}/format'),
    ],
  })
  test.each([
    ["/drive/search(q='plan')", 'search'],
    ["/drive/search(q='it''s (a) plan, b=1')", 'search'],
    ["/drive/search(q='')", 'search'],
    ['/sheets/1/cell(row=1,column=-2)', 'cell'],
    ["/sheets/1/range(address='A1:B2')/format", 'range'],
    // One reading only: another order, another kind of value, a text that ends early, or more arguments are another call.
    ["/drive/search(q='a') or 'b')", 'unknown'],
    ["/drive/search(q='a',top=1)", 'unknown'],
    ['/drive/search(q=plan)', 'unknown'],
    ['/drive/search(q=@p)', 'unknown'],
    ['/drive/search()', 'unknown'],
    ['/drive/search', 'unknown'],
    ['/sheets/1/cell(column=2,row=1)', 'unknown'],
    ["/sheets/1/cell(row='1',column=2)", 'unknown'],
    ["/sheets/1/range(address='A1:B2')", 'unknown'],
    ['/sheets/1/cell()', 'unknown'],
    // Nor is a call the name of something, where another reader knows the function by its letters in another case.
    ["/sheets/1/Range(address='A1')/format", 'unknown'],
    ['/sheets/1/range(address=%22A1%22)/format', 'unknown'],
    ["/sheets/1/range(address='A1',other='')/format", 'unknown'],
    ['/sheets/1/Plan (2)/format', 'tab.format'],
    ['/mails/delta()', 'changes'],
    ['/mails/Delta()', 'unknown'],
    ["/mails/delta(token='a')", 'unknown'],
    ['/mails/AAMk=', 'mail'],
  ])('%s is %s', (path, id) => {
    expect(odata(path)).toBe(id)
  })
})

describe('the name of a field', () => {
  const at = '/services/data/v65.0/sobjects/Contact'
  const forces: Provider = {
    ...acme,
    operations: [
      row('upsert', 'PATCH', '/services/data/{version}/sobjects/{sobject}/{field}/{value}'),
      row('blob', 'PATCH', '/services/data/{version}/sobjects/{sobject}/{id}/Body'),
    ],
  }
  const find = createClassify([forces])
  const connection = { ...routeTo('GET', '/').connection, provider: forces }
  test.each([
    ['Ext__c/003R0000005hDFYIA2', 'upsert'],
    ['WorkOrderNumber/7', 'upsert'],
    ['Long12345678__c/7', 'upsert'],
    ['003R0000005hDFYIA2/Body', 'blob'],
    // From a record on to the one that it names.
    ['003R0000005hDFYIA2/Account', 'unknown'],
    ['a01R0000005hDFY/Owner', 'unknown'],
    ['@{r1.id}/Account', 'unknown'],
  ])('%s is %s', (path, id) => {
    expect(find(routeTo('PATCH', `${at}/${path}`, { connection })).operation.id).toBe(id)
  })
})
