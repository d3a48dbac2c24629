// What `deputy validate` says of each endpoint for MCP hosts.
import { rmSync } from 'node:fs'
import { afterAll, expect, test } from 'vitest'
import { endpoints } from '../../proxy/commands/validate/endpoints.ts'
import { validate } from '../../proxy/commands/validate/command.ts'
import { loadFolder, prepareFolder, providersAt, type Fields } from '../support/deputy.ts'

const dirs: string[] = []
afterAll(() => dirs.forEach((dir) => rmSync(dir, { recursive: true })))
const folder = async (rows: readonly Fields[]) => {
  const upstream = 'http://127.0.0.1:9'
  const [acme, ...others] = providersAt(upstream)
  const bulk = Array.from({ length: 1_000 }, (_, i) => ({
    id: `acme.bulk${i}`,
    method: 'GET',
    path: `/bulk/${i}`,
    access: 'read',
    scopes: [[]],
  }))
  const dir = await prepareFolder({
    upstream,
    config: { providers: [{ ...acme, operations: bulk }, ...others], tools: { endpoints: rows } },
  })
  dirs.push(dir)
  return dir
}
const said = async (rows: readonly Fields[]) =>
  endpoints(await loadFolder(await folder(rows)), { toolFiles: [] })

test('how much it lists, and what that costs a model', async () => {
  const { problems, warnings } = await said([
    { path: '/mcp', tools: ['Acme.Bulk1', 'Acme.Bulk2'] },
    { path: '/mcp/all', tools: ['Acme.*'], discovery: true },
  ])
  expect(problems).toEqual([])
  expect(warnings).toEqual([
    expect.stringMatching(
      /^tools\.endpoints\.0: \/mcp lists 2 tools: \d{3} bytes, about \d+ tokens$/,
    ),
    expect.stringMatching(
      /^tools\.endpoints\.1: \/mcp\/all lists 3 tools by which 1,000 are found: 1,\d{3} bytes, about \d+ tokens$/,
    ),
  ])
})

test('a thousand tools in one list, and a pattern that fits none, are refused', async () => {
  const { problems } = await said([
    { path: '/mcp', tools: ['Acme.*'] },
    { path: '/mcp/other', tools: ['Gmale.*'] },
  ])
  expect(problems).toEqual([
    'tools.endpoints.0: /mcp would list 1,000 tools, and models choose badly among more than 40: name fewer of them, or say discovery: true',
    'tools.endpoints.1.tools: no tool of the configured connections fits "Gmale.*"',
  ])
})

test('validate ends by them, and says nothing where there are none', async () => {
  const lines: string[] = []
  const run = async (rows: readonly Fields[]) =>
    validate({
      loaded: await loadFolder(await folder(rows)),
      offline: true,
      print: (line) => void lines.push(line),
      complain: (line) => void lines.push(line),
    })
  expect(await run([{ path: '/mcp', tools: ['Acme.*'] }])).toBe(78)
  expect(lines.join('\n')).toContain('would list 1,000 tools')
  lines.length = 0
  expect(await run([])).toBe(0)
  expect(lines.join('\n')).not.toContain('tools.endpoints')
})
