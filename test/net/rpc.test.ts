// Streams of an MCP server: event by event, however they are cut, and nothing in them that may not be seen.
import { describe, expect, test } from 'vitest'
import { events, sealedSession, type Rpc } from '../../proxy/net/rpc.ts'
import { shownMessage } from '../../proxy/envelope/listed.ts'
import type { Problem } from '../../proxy/problem.ts'

const may = (name: string): boolean => name === 'a'
const listing: Rpc = {
  id: 1,
  listed: { tools: may, prompts: may, resources: may, resourceTemplates: may },
  session: (id) => `sealed-${id}`,
}
const calling: Rpc = { ...listing, listed: null }

const run = (chunks: readonly (string | Buffer)[], rpc: Rpc, limit = 10_000) => {
  const out: string[] = []
  const problems: Problem[] = []
  let ended = false
  const into = {
    push: (chunk: Buffer) => {
      out.push(chunk.toString())
      return true
    },
    end: () => {
      ended = true
    },
  }
  const shown = {
    show: (text: string): string => shownMessage(text, rpc.id, rpc.listed),
    strict: rpc.listed !== null,
  }
  const sink = events(limit, into, shown, (problem) => void problems.push(problem))
  for (const chunk of chunks) sink.push(Buffer.from(chunk))
  sink.end()
  return { out, problems, ended }
}
const LIST =
  'event: message\nid: 7\ndata: {"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"b"}]}}\n\n'
const SHOWN =
  'event: message\nid: 7\ndata: {"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}]}}\n\n'

describe('events', () => {
  test('pass one by one, as soon as each is whole', () => {
    const { out, ended } = run(
      [': hello\n\nid: 1\ndata:\n\n', 'data: {"method":"x"}', '\n\n', 'data: cut'],
      calling,
    )
    expect(out).toEqual([': hello\n\nid: 1\ndata:\n\n', 'data: {"method":"x"}\n\n'])
    expect(ended).toBe(true)
  })
  test('lists are read whatever ends their lines, and however they are cut', () => {
    for (const end of ['\n', '\r\n', '\r']) {
      const text = `${LIST}: later\n\n`.replaceAll('\n', end)
      for (const size of [1, 2, 3, 7, 1_000]) {
        const chunks = text.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? []
        expect(run(chunks, listing).out.join('')).toContain(SHOWN)
      }
    }
  })
  test('an event has ended with its empty line, whatever ends that: nothing has to follow', () => {
    for (const end of ['\n', '\r\n', '\r'])
      for (const size of [1, 2, 3, 1_000]) {
        const text = LIST.replaceAll('\n', end)
        const chunks = text.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? []
        expect(run(chunks, listing).out.join(''), JSON.stringify([end, size])).toBe(SHOWN)
      }
  })
  test('what ends a line and is cut in two ends it once', () => {
    const { out } = run(['data: {"method":\r', '\ndata: "x"}\r', '\n\r', '\n'], listing)
    expect(out.join('')).toBe('data: {"method":\ndata: "x"}\n\n')
    const long = run([`data: "${'x'.repeat(50)}\r`, '\ndata: y"\n\n'], calling, 40)
    expect(long.out.join('')).toBe(`data: "${'x'.repeat(50)}\ndata: y"\n\n`)
  })
  test('an event that comes in many pieces costs no more than its length', () => {
    const pieces = Array.from({ length: 40_000 }, () => 'x'.repeat(25))
    const began = process.cpuUsage()
    const message = ['data: {"id":1,"result":{"tools":[{"name":"b"}],"x":"', ...pieces, '"}}\n\n']
    const { out } = run(message, listing, 4_000_000)
    const { user } = process.cpuUsage(began)
    expect(out.map(({ length }) => length)).toEqual([1_000_045])
    expect(user / 1_000).toBeLessThan(1_500)
  })
  test('data in several lines is one text; what means nothing to a reader is left out', () => {
    const text =
      'data: {"id":1,"result":\n{"tools":[{"name":"b"}]}\ndata: {"tools":[{"name":"b"}]}}\n\n'
    const { out } = run([text], listing)
    expect(out.join('')).toBe('data: {"id":1,"result":{"tools":[]}}\n\n')
  })
  test.each([
    ['a list that is not JSON', [LIST.replace('"tools"', 'tools')], listing],
    ['an answer to another request', ['data: {"id":2,"result":{}}\n\n'], calling],
    ['bytes that are not UTF-8', [Buffer.from([0x64, 0xff, 0x0a, 0x0a])], calling],
    ['an event that is too long to be read', ['data: ', 'x'.repeat(20_000)], listing],
  ])('%s ends the stream', (_what, chunks, rpc) => {
    const { problems, out, ended } = run([...chunks, 'data: {"method":"after"}\n\n'], rpc)
    expect(problems.map(({ code }) => code)).toEqual(['answer_not_redactable'])
    expect([out.join(''), ended]).toEqual(['', false])
  })
  test('an answer that lists nothing passes unread past the limit, no character lost', () => {
    const long = `data: {"id":1,"result":"${'é'.repeat(20_000)}"}\n\n`
    const bytes = Buffer.from(long)
    const cut = bytes.length / 2 + 1
    const { out, problems } = run([bytes.subarray(0, cut), bytes.subarray(cut)], calling)
    expect([out.join('') === long, problems]).toEqual([true, []])
  })
})

test('a session is told under its seal, whatever the case of its name', () => {
  const headers = ['MCP-Session-Id', 's1', 'X', 'mcp-session-id', 'Y', 'z']
  expect(sealedSession(headers, listing)).toEqual(headers.with(1, 'sealed-s1'))
})
