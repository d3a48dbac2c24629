// Answers of an MCP server: whose they are, and what of a list may be seen.
import { describe, expect, test } from 'vitest'
import { shownMessage, type Listed } from '../../proxy/envelope/listed.ts'

const only = (...names: readonly string[]): Listed => {
  const may = (name: string): boolean => names.includes(name)
  return { tools: may, prompts: may, resources: may, resourceTemplates: may }
}
const answer = (result: object, id: unknown = 1): string =>
  JSON.stringify({ jsonrpc: '2.0', id, result })

describe('what an MCP server lists', () => {
  test('is left out where it may not be seen; the rest stays as it was written, numbers too', () => {
    const text =
      '{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"maximum":9007199254740993.10}},{"name":"b"}],"ttlMs":1e3,"cacheScope":"public"}}'
    expect(shownMessage(text, 1, only('a'))).toBe(
      '{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"maximum":9007199254740993.10}}],"ttlMs":1e3,"cacheScope":"private"}}',
    )
  })
  test('resources go by their URI, templates by theirs, and nobody without a name is shown', () => {
    const result = {
      resources: [{ uri: 'a' }, { uri: 'b' }, { name: 'a' }, 7],
      resourceTemplates: [{ uriTemplate: 'a' }, { uriTemplate: 'b' }],
      prompts: [{ name: 'a' }, { name: 1 }],
    }
    expect(JSON.parse(shownMessage(answer(result), 1, only('a')))).toMatchObject({
      result: {
        resources: [{ uri: 'a' }],
        resourceTemplates: [{ uriTemplate: 'a' }],
        prompts: [{ name: 'a' }],
      },
    })
  })
  test('a list under another spelling, or inside an answer to an earlier request, is one as well', () => {
    const folded = shownMessage(answer({ Tools: [{ name: 'b' }] }), 1, only('a'))
    expect(JSON.parse(folded)).toMatchObject({ result: { Tools: [] } })
    const replayed = shownMessage(answer({ tools: [{ name: 'b' }] }, 99), null, only('a'))
    expect(JSON.parse(replayed)).toMatchObject({ result: { tools: [] } })
  })
  test.each([
    [
      'a list that is said twice',
      '{"id":1,"result":{"tools":[]},"result":{"tools":[{"name":"b"}]}}',
    ],
    ['a list that is none', answer({ tools: { b: {} } })],
    ['no JSON', 'data: {"id":1}'],
    ['no object', '[]'],
    ['a result under another spelling', '{"id":1,"Result":{"tools":[{"name":"b"}]}}'],
    ['a result under both', '{"id":1,"result":{},"re\u017fult":{"tools":[{"name":"b"}]}}'],
  ])('%s is not passed on', (_what, text) => {
    expect(() => shownMessage(text, 1, only('a'))).toThrow(/MCP server/)
  })
})

describe('an answer that lists nothing', () => {
  test('passes as it came, byte for byte, when it answers this request', () => {
    for (const text of [
      '{ "jsonrpc":"2.0", "id":1, "result":{"tools":[{"name":"b"}]} }',
      '{"jsonrpc":"2.0","method":"notifications/progress","params":{}}',
      '{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}',
      '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}',
      'no JSON at all',
    ])
      expect(shownMessage(text, 1, null)).toBe(text)
  })
  test('an answer whose members some clients read otherwise is nobody’s', () => {
    for (const text of ['{"id":1,"Id":2,"result":{}}', '{"id":1,"RESULT":{}}'])
      expect(() => shownMessage(text, 1, null)).toThrow('two ways')
  })
  test('the answer to another request is nobody’s', () => {
    for (const id of [2, '1', null, [1]])
      expect(() => shownMessage(answer({}, id), 1, null)).toThrow('answered another request')
  })
})
