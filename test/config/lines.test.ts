import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { located, withLines } from '../../proxy/config/lines.ts'

const TEXT = `# a comment
version: 1
connections:
  github:
    provider: github
    hosts: { api.github.com: "x" }
audit:
  sink:
    - stdout
    - nowhere
`
test.each([
  ['version: must be 1', 2],
  ['connections.github.provider: is wrong', 5],
  ['connections.github.client_id: is missing', 4],
  ['connections.github.hosts.api.github.com: is no http(s) URL', 6],
  ['connections.github: hosts: github does not serve x', 4],
  ['audit.sink.1: is no sink', 10],
  ['audit.sink: must be shorter', 8],
])('%s stands in line %i', (problem, line) => {
  expect(withLines(TEXT, [problem])).toEqual([`line ${line}: ${problem}`])
})
test.each(['vault: is missing', '/etc/people.yaml: is no file', 'something else'])(
  '%s stands nowhere in it',
  (problem) => {
    expect(withLines(TEXT, [problem])).toEqual([problem])
  },
)

test('a file that cannot be read or understood says nothing', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-lines-'))
  try {
    expect(await located(join(dir, 'none.yaml'), ['version: x'])).toEqual(['version: x'])
    writeFileSync(join(dir, 'deputy.yaml'), TEXT)
    expect(await located(join(dir, 'deputy.yaml'), ['version: x'])).toEqual(['line 2: version: x'])
    expect(withLines('\t{', ['version: x'])).toEqual(['version: x'])
  } finally {
    rmSync(dir, { recursive: true })
  }
})
