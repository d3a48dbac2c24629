// What docs/mcp.md tells people to write into their hosts is what their hosts then send.
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { configSchema } from '../../proxy/config/schema.ts'
import { startMcpHouse, type McpHouse } from '../support/mcphost.ts'

const book = readFileSync(new URL('../../docs/mcp.md', import.meta.url), 'utf8')
const blocks = (kind: string): readonly string[] =>
  [...book.matchAll(new RegExp(`\`\`\`${kind}\\n([\\s\\S]*?)\`\`\``, 'g'))].map(
    ([, text = '']) => text,
  )

let house: McpHouse
beforeAll(async () => {
  house = await startMcpHouse()
})
afterAll(() => house.close())

type Server = {
  readonly url: string
  readonly type?: string
  readonly headers: Readonly<Record<string, string>>
}
test('each host’s snippet reaches the door and names its person', async () => {
  const snippets = blocks('json').map(
    (text) => JSON.parse(text) as Record<string, { deputy: Server }>,
  )
  expect(snippets.map((one) => Object.keys(one))).toEqual([
    ['mcpServers'],
    ['servers'],
    ['mcpServers'],
  ])
  house.people({ 'alice@example.com': ['readers'] })
  for (const snippet of snippets) {
    const [{ deputy }] = Object.values(snippet) as [{ deputy: Server }]
    const url = deputy.url.replace('http://127.0.0.1:7410', house.deputy.agent)
    await expect
      .poll(async () => {
        const answer = await fetch(url, {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...deputy.headers },
          body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
        })
        const { result } = (await answer.json()) as { result: { tools: { name: string }[] } }
        return result.tools.map(({ name }) => name)
      })
      .toEqual(['Acme_ListNotes'])
  }
})

test('its configuration is one', () => {
  const [identity, tools] = blocks('yaml').map((text) => parse(text) as object)
  const base = {
    version: 1,
    policy: { bundle: './b.tar.gz' },
    connections: { acme: { provider: 'acme', client_id: 'x', scopes: [] } },
    vault: { store: 'sqlite:d.db', keys: './k.json' },
  }
  for (const part of [identity, tools]) {
    const read = configSchema.safeParse({ identity: { trust: 'plain' }, ...base, ...part })
    expect(read.error?.issues ?? []).toEqual([])
  }
})
