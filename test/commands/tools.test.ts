// `deputy tools list | test`: what there is, and the requests that a tool makes, without sending any.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { toolsList, toolsTest } from '../../proxy/commands/tools.ts'
import { load, type Loaded } from '../../proxy/config/load.ts'
import { prepareFolder } from '../support/deputy.ts'
import { PROVIDER_YAML, TOOLS_YAML } from '../tools/sample.ts'

let dir = ''
let loaded: Loaded
beforeAll(async () => {
  dir = await prepareFolder({
    upstream: 'http://127.0.0.1:9',
    config: {
      providers: [PROVIDER_YAML],
      connections: {
        acme: {
          provider: 'acme',
          client_id: 'c',
          client_secret: 's'.repeat(32),
          scopes: ['notes.read'],
        },
      },
      tools: { files: ['./acme.tools.yaml'] },
    },
  })
  writeFileSync(join(dir, 'acme.tools.yaml'), TOOLS_YAML)
  const result = await load(join(dir, 'deputy.yaml'), {})
  if ('problems' in result) throw new Error(result.problems.join('\n'))
  loaded = result.loaded
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const said = async (
  run: (of: {
    loaded: Loaded
    print: (line: string) => void
    complain: (line: string) => void
  }) => Promise<number>,
) => {
  const lines: string[] = []
  const complaints: string[] = []
  const code = await run({
    loaded,
    print: (line) => void lines.push(line),
    complain: (line) => void complaints.push(line),
  })
  return { code, text: lines.join('\n'), complaints }
}

test('the list names each tool with what it may do and which operations it is', async () => {
  const { code, text, complaints } = await said((of) => toolsList({ ...of, plain: false }))
  expect([code, complaints]).toEqual([0, []])
  expect(text).toContain('Acme.DeleteNote   destroys  acme: notes.delete\n')
  expect(text).toContain('Acme.ListNotes    reads     acme: notes.list, notes.get\n')
  expect((await said((of) => toolsList({ ...of, plain: true }))).text).toContain('Acme.NotesUpload')
})

test('a test prints every request that the recipe makes', async () => {
  const { code, text } = await said((of) =>
    toolsTest({ ...of, name: 'Acme.ListNotes', input: '{"n":2}', answers: undefined }),
  )
  expect(code).toBe(0)
  expect(text).toContain('GET https://api.acme.test/v1/me/notes?max=2')
  expect(text).toContain('GET https://api.acme.test/v1/me/notes/id-1?fields=title&fields=text')
})

test('with answers of one’s own it prints the result', async () => {
  const file = join(dir, 'answers.json')
  writeFileSync(file, '[{"id":"n9"}]')
  const { text } = await said((of) =>
    toolsTest({ ...of, name: 'Acme.CreateNote', input: '{"title":"t"}', answers: file }),
  )
  expect(text).toContain('{"title":"t"}')
  expect(text).toContain('result: {"id":"n9"}')
})

test('what cannot be called is told, with exit status 1', async () => {
  const { code, complaints } = await said((of) =>
    toolsTest({ ...of, name: 'Acme.CreateNote', input: '{}', answers: undefined }),
  )
  expect([code, complaints]).toEqual([1, ['`title` is missing; it must be a string']])
  expect(
    (
      await said((of) =>
        toolsTest({ ...of, name: 'Acme.Nope', input: undefined, answers: undefined }),
      )
    ).code,
  ).toBe(1)
})
