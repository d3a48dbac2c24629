// Who asks the people's, operators' or admin listener for another host (DNS rebinding) gets no answer of theirs.
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startDeputy, type Deputy } from '../support/deputy.ts'

let deputy: Deputy
beforeAll(async () => {
  deputy = await startDeputy({
    upstream: 'http://127.0.0.1:9',
    config: {
      listeners: {
        agent: '127.0.0.1:0',
        admin: '[::]:0',
        connect: '127.0.0.1:0',
        operators: '[::1]:0',
        names: ['deputy.agents.svc'],
      },
      connect: { sign_in: 'local', url: 'https://deputy.example.com' },
      operators: [{ name: 'ops', bearer: 'b'.repeat(32), may: ['runs'] }],
    },
  })
})
afterAll(() => deputy.close())

/** First line and body of the answer to a request with these lines. */
const ask = async (host: string, port: number, lines: readonly string[]): Promise<string> => {
  const socket = connect({ host, port })
  let said = ''
  socket.on('data', (chunk: Buffer) => (said += chunk.toString()))
  socket.write(`${lines.join('\r\n')}\r\nConnection: close\r\n\r\n`)
  await once(socket, 'close')
  return said
}
const refused = (answer: string): void => {
  // Node's own server answers some of them, with 400 where Host is missing or stands twice.
  expect(answer).toMatch(/^HTTP\/1\.1 4(?:21|00) /)
  expect(answer).toMatch(/Host header does not name this listener|^HTTP\/1\.1 400 /)
}

/** Where it is reached, a path, and the names by which it may be. */
const LISTENERS = [
  ['admin', '127.0.0.1', '/livez', ['127.0.0.1', 'localhost:99', 'deputy.agents.svc']],
  ['admin', '::1', '/livez', ['[::1]', 'LOCALHOST']],
  ['operators', '::1', '/v1/openapi.json', ['[::1]:1', 'localhost', 'deputy.agents.svc']],
] as const
const portOf = (name: string): number => Number(/(\d+)$/.exec(deputy.addresses[name] ?? '')?.[1])

test.each(LISTENERS)('%s at %s answers to its own names only', async (name, at, path, own) => {
  const port = portOf(name)
  for (const host of own)
    expect(await ask(at, port, [`GET ${path} HTTP/1.1`, `Host: ${host}`]), host).toMatch(
      /^HTTP\/1\.1 200 /,
    )
  for (const host of ['evil.example', '10.0.0.1', 'localhost.evil.example', '[::2]', ''])
    refused(await ask(at, port, [`GET ${path} HTTP/1.1`, `Host: ${host}`]))
  refused(await ask(at, port, [`GET ${path} HTTP/1.1`]))
  refused(await ask(at, port, [`GET ${path} HTTP/1.0`]))
  refused(await ask(at, port, [`GET ${path} HTTP/1.1`, 'Host: localhost', 'Host: evil.example']))
  refused(await ask(at, port, [`GET http://evil.example${path} HTTP/1.1`, 'Host: localhost']))
})

test('the address by which a probe came in is its own, though nobody wrote it', async () => {
  const port = portOf('admin')
  expect(await ask('127.0.0.2', port, ['GET /livez HTTP/1.1', 'Host: 127.0.0.2'])).toMatch(
    /^HTTP\/1\.1 200 /,
  )
  refused(await ask('127.0.0.1', port, ['GET /livez HTTP/1.1', 'Host: 127.0.0.2']))
})
