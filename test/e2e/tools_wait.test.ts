// How long a tool of several calls waits for its person: once, not once for each.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startMcpHouse, type McpHouse } from '../support/mcphost.ts'

const TOOLS = `
provider: acme
tools:
  Acme.Both:
    description: Reads, and reads what needs more.
    steps:
      - { operation: notes.list, as: first }
      - { operation: notes.more, as: second }
`
let house: McpHouse
beforeAll(async () => {
  const client_secret = 'canary-provider-secret-00000000000000'
  const scopes = ['notes', 'more']
  house = await startMcpHouse(
    { connections: { acme: { provider: 'acme', client_id: 'deputy', client_secret, scopes } } },
    {
      tools: TOOLS,
      operations: [
        { id: 'notes.more', method: 'GET', path: '/more', access: 'read', scopes: [['more']] },
      ],
    },
  )
})
afterAll(() => house.close())

const execute = async (prefer: string | null) => {
  const answer = await fetch(`${house.deputy.agent}/v1/tools/execute`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'deputy-user': 'alice',
      ...(prefer === null ? {} : { prefer }),
    },
    body: JSON.stringify({ tool_name: 'Acme.Both', input: {} }),
  })
  return (await answer.json()) as {
    readonly code?: string
    readonly url?: string
    readonly scopes?: readonly string[]
  }
}

test('one `Prefer: wait` is the budget of all its calls', async () => {
  const began = performance.now()
  const held = execute('respond-async, wait=10')
  const { url = '', scopes } = await execute(null)
  expect(scopes).toContain('notes')
  // A third of the budget is gone when the first call may go on; the second has what is left.
  await new Promise((resolve) => setTimeout(resolve, 3_500 - (performance.now() - began)))
  await house.visit(url, 'alice')
  expect(await held).toMatchObject({
    code: 'consent_required',
    scopes: expect.arrayContaining(['more']),
  })
  const took = performance.now() - began
  expect(took).toBeGreaterThan(3_500)
  expect(took).toBeLessThan(13_000)
  const { headers } = house.upstream.seen.at(-1) ?? {}
  expect(headers?.['prefer']).toBe('respond-async')
})
