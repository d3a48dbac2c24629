// The conformance suite of the protocol's authors: the same list through deputy as directly at the server.
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { MCP_HOST, openMcpServer, RESOURCE } from '../support/mcpserver.ts'

const SUITE = fileURLToPath(
  new URL('../../node_modules/@modelcontextprotocol/conformance/dist/index.js', import.meta.url),
)
const server = createServer((req, res) => void openMcpServer(req, res))
let origin = ''
let deputy: Deputy

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const row = {
    kinds: ['mcp'],
    access: ['read', 'write', 'delete'],
    operations: ['*'],
    max_entitlement_age_s: 300,
  }
  const tools = [
    'test_simple_text',
    'test_image_content',
    'test_error_handling',
    'test_tool_with_progress',
    'test_tool_with_logging',
    'test_sampling',
    'test_elicitation',
  ]
  deputy = await startDeputy({
    upstream: origin,
    people: [{ id: 'alice', groups: ['staff'] }],
    held: [{ person: 'alice', connection: 'acme', token: 'token-of-alice', scopes: [] }],
    tables: {
      ...TABLES,
      group_roles: { staff: ['user'] },
      role_grants: { acme: { user: ['use'] } },
      grants: { acme: { use: row } },
      providers: { acme: { hosts: [MCP_HOST], assets: [], inspect_body: [] } },
    },
    config: {
      providers: [
        {
          id: 'acme',
          kind: 'mcp',
          url: RESOURCE,
          hosts: { [MCP_HOST]: origin },
          authorize: `${origin}/authorize`,
          token: `${origin}/token`,
          client_auth: 'none',
          tools: tools.map((name) => ({ name, access: 'write' })),
          prompts: [{ name: 'test_simple_prompt' }, { name: 'test_prompt_with_arguments' }],
          resources: [{ id: 'all', uri: 'test://*' }],
        },
      ],
      connections: { acme: { provider: 'acme', client_id: 'deputy' } },
    },
  })
})
afterAll(async () => {
  await deputy.close()
  server.closeAllConnections()
  server.close()
})

/** Each check of the suite with its status, in the order of their names. */
const checked = async (url: string): Promise<readonly string[]> => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-mcp-'))
  // It exits with 1 where anything fails: this server does not have all that the suite asks for.
  await promisify(execFile)(process.execPath, [SUITE, 'server', '--url', url, '-o', folder], {
    cwd: folder,
    maxBuffer: 64 * 1024 * 1024,
  }).catch(() => undefined)
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('checks.json'),
  )
  const lines = files.flatMap((name) => {
    const checks = JSON.parse(readFileSync(join(folder, name), 'utf8')) as {
      id: string
      status: string
    }[]
    const scenario = name.replace(/-\d{4}-\d\d-\d\dT.*$/s, '')
    return checks.map(({ id, status }) => `${scenario} ${id} ${status}`)
  })
  rmSync(folder, { recursive: true, force: true })
  return lines.sort()
}

test('passes and fails the same through deputy as directly', async () => {
  const direct = await checked(`${origin}/mcp`)
  expect(direct.filter((line) => line.endsWith('SUCCESS')).length).toBeGreaterThan(10)
  const through = await checked(`${deputy.agent}/~alice/${MCP_HOST}/mcp`)
  // Browsers are deputy's to refuse: a foreign Host or Origin never reaches the server, and no Origin passes unlisted.
  const others = (lines: readonly string[]) => lines.filter((line) => !line.includes('rebinding'))
  expect(others(through)).toEqual(others(direct))
  expect(through.join('\n')).toContain('localhost-host-rebinding-rejected SUCCESS')
}, 120_000)
