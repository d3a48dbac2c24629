// Files of tools: those that ship hold, and what an own one says wrong is told with its place.
import { readdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { loadTools, ownToolFiles, parseToolFile, shippedToolFiles } from '../../proxy/tools/load.ts'
import { provider, TOOLS_YAML } from './sample.ts'

const root = new URL('../../providers', import.meta.url).pathname

test('every file of tools that ships is right, and describes operations that exist', async () => {
  const { providers } = compileProviders(readProviderFiles(root))
  const named = readdirSync(root).filter((name) => name.endsWith('.tools.yaml'))
  const problems: string[] = []
  for (const name of named) {
    const id = name.replace('.tools.yaml', '')
    const of = providers.get(id)
    if (of === undefined) {
      problems.push(`${name}: no provider ${id}`)
      continue
    }
    const loaded = await loadTools(of, await shippedToolFiles([id]))
    problems.push(...loaded.problems)
    expect(loaded.tools.length).toBeGreaterThan(0)
  }
  expect(problems).toEqual([])
})

test('a file for another provider gives nothing, and one for a base gives its tools', async () => {
  const file = parseToolFile('t.yaml', TOOLS_YAML)
  const own = provider()
  expect((await loadTools(own, [file])).tools).toHaveLength(5)
  expect((await loadTools({ ...own, id: 'other', lineage: ['other'] }, [file])).tools).toEqual([])
  expect(
    (await loadTools({ ...own, id: 'own', lineage: ['own', 'acme'] }, [file])).tools,
  ).toHaveLength(5)
})

test('a document that asks for another field than the operation’s is named', async () => {
  const file = parseToolFile('t.yaml', TOOLS_YAML.replace('{ boardCreate(', '{ boardDelete('))
  expect((await loadTools(provider(), [file])).problems).toEqual([
    't.yaml: tools.Acme.CreateBoard.steps.0.graphql: its document asks for mutation boardDelete, and boards.create is mutation boardCreate',
  ])
})

test('what is no YAML, has a key twice or is not there is told', async () => {
  expect(() => parseToolFile('t.yaml', 'a: 1\na: 2')).toThrow('t.yaml:2: a key stands here twice')
  const { files, problems } = await ownToolFiles(['/nowhere/t.yaml'])
  expect(files).toEqual([])
  expect(problems[0]).toContain('/nowhere/t.yaml')
})
