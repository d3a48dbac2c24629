// What the door for MCP hosts holds of whom before it has heard anything: nothing of an agent that is switched off, and no
// more messages at once than an agent may have.
import { request } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { AGENT } from '../support/deputy.ts'
import { startMcpHouse, type McpHouse } from '../support/mcphost.ts'

const BEARER = 'operator-bearer-000000000000000000000'
let house: McpHouse
beforeAll(async () => {
  house = await startMcpHouse({
    operators: [{ name: 'me', bearer: BEARER, may: ['revoke'] }],
    limits: { calls_per_agent: 1 },
  })
})
afterAll(() => house.close())

const post = async (body: object) => {
  const answer = await fetch(`${house.deputy.agent}/mcp`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'deputy-user': 'alice' },
    body: JSON.stringify(body),
  })
  const text = await answer.text()
  return { status: answer.status, said: answer.headers.get('deputy-answer'), text }
}
const message = (method: string, params: object = {}) => ({
  jsonrpc: '2.0',
  id: 1,
  method,
  params,
})
const initialize = () =>
  post(
    message('initialize', {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'test', version: '1' },
    }),
  )
/** A message that says how long it is and never comes. */
const dripping = () => {
  const req = request(`${house.deputy.agent}/mcp`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'deputy-user': 'alice',
      'content-length': 1_000,
    },
  })
  req.on('error', () => undefined)
  const answered = new Promise<{ readonly status: number; readonly said: unknown }>((resolve) =>
    req.once('response', (res) => {
      resolve({ status: res.statusCode ?? 0, said: res.headers['deputy-answer'] })
      res.resume()
    }),
  )
  req.write('{')
  return { answered, leave: () => req.destroy() }
}
const agent = async (what: 'disable' | 'enable'): Promise<number> => {
  const answer = await fetch(`${house.deputy.connect}/v1/admin/agents/${AGENT}/${what}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${BEARER}` },
  })
  return answer.status
}

test('a message that is still coming counts, so nobody makes deputy hold more of them than an agent may have', async () => {
  const one = dripping()
  // Until it has arrived, there is room.
  await expect.poll(async () => (await post(message('ping'))).said).toBe('too_many_calls')
  expect((await post(message('ping'))).status).toBe(429)
  one.leave()
  await expect.poll(async () => (await post(message('ping'))).status).toBe(200)
})

test('an agent that is switched off hears nothing but that, before its message is there; and what is coming is cut', async () => {
  expect((await initialize()).status).toBe(200)
  const coming = dripping()
  await expect.poll(async () => (await post(message('ping'))).said).toBe('too_many_calls')
  expect(await agent('disable')).toBe(200)
  expect(await coming.answered).toEqual({ status: 403, said: 'agent_disabled' })
  for (const asked of [initialize(), post(message('ping')), post(message('tools/list'))])
    expect(await asked).toMatchObject({ status: 403, said: 'agent_disabled' })
  expect(await dripping().answered).toEqual({ status: 403, said: 'agent_disabled' })
  expect(await agent('enable')).toBe(200)
  await expect.poll(async () => (await initialize()).status).toBe(200)
})
