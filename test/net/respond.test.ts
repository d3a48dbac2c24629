import type { IncomingMessage, ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { createAnswers, unanswered } from '../../proxy/net/respond.ts'
import type { About } from '../../proxy/net/respond.ts'

const JSON_BODY = Buffer.from('{"a":"https://api.acme.example/x"}')
/** One answer with a URL in it, and what its agent gets of it. */
const answering = () => {
  const got: string[] = []
  const res = {
    headersSent: false,
    writeHead: (code: number, head: readonly string[]) => {
      res.headersSent = true
      got.push(`${code} ${head.join(' ')}`)
    },
    write: (chunk: Buffer) => got.push(String(chunk)),
    flushHeaders: () => got.push('head alone'),
    end: (chunk?: Buffer) => got.push(`${String(chunk ?? '')}.`),
  }
  const req = { headers: { host: '127.0.0.1' }, socket: {}, method: 'GET', complete: true }
  const job: About = {
    route: { addressing: { kind: 'path', prefix: '/' }, host: 'api.acme.example' },
    injected: null,
    pointers: ['/a'],
    signed: null,
    seal: null,
    served: (host) => host === 'api.acme.example',
  }
  const answers = createAnswers({ rewrittenBody: 1_000, stop: () => got.push('stopped') })
  const answer = unanswered(
    job,
    req as unknown as IncomingMessage,
    res as unknown as ServerResponse,
  )
  return { answers, answer, got }
}
const turns = () => new Promise((later) => setTimeout(later, 50))

test.each([
  ['as it is', JSON_BODY, []],
  ['coded', gzipSync(JSON_BODY), ['Content-Encoding', 'gzip']],
])(
  'a collected answer that came %s has its head with its body, and its length',
  async (_how, body, head) => {
    const { answers, answer, got } = answering()
    answers.head(answer, ['Content-Type', 'application/json', ...head], 200)
    await turns()
    expect(got).toEqual([])
    answers.data(answer, body)
    answers.end(answer, [])
    await expect.poll(() => got.at(-1)).toMatch(/\.$/)
    expect(got.join('')).toMatch(/^200 Content-Type application\/json Content-Length (\d+)/)
    const text = got.slice(1).join('').slice(0, -1)
    expect(text).toBe('{"a":"http://127.0.0.1/api.acme.example/x"}')
    expect(got[0]).toContain(`Content-Length ${text.length}`)
  },
)

test.each([
  ['as it is', JSON_BODY, []],
  ['coded', gzipSync(JSON_BODY), ['Content-Encoding', 'gzip']],
])(
  'of a collected answer that came %s nobody hears once its call has ended',
  async (_how, body, head) => {
    const { answers, answer, got } = answering()
    answers.head(answer, ['Content-Type', 'application/json', ...head], 200)
    answers.data(answer, body)
    answer.done = true
    answers.end(answer, [])
    await turns()
    expect(got).toEqual([])
  },
)
