import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { describedOperations, summaryOf } from '../../proxy/config/descriptions.ts'
import type { OperationRow } from '../../proxy/model.ts'

const rows = (id: string): readonly OperationRow[] => [
  {
    id,
    method: 'GET',
    path: '/x',
    access: 'read',
    scopes: [[]],
    inspect: [],
    upload: false,
    rewrite: [],
    host: null,
  },
]

test('the texts of a provider are read once, when they are asked for; those of a base are its own', async () => {
  const provider = { operations: rows('issues.create'), lineage: ['github_app', 'github'] }
  const first = describedOperations(provider)
  expect(describedOperations(provider)).toBe(first)
  expect((await first).get('issues.create')?.summary).toBe('Create an issue')
  expect(await summaryOf(provider, 'issues.create')).toBe('Create an issue')
  expect(await summaryOf(provider, 'unknown')).toBe('')
})

test('a provider without texts has none', async () => {
  expect(await summaryOf({ operations: rows('x'), lineage: ['acme'] }, 'x')).toBe('')
})

test('a broken file is tried again, and a page is shown without it', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-texts-'))
  const file = join(dir, 'acme.parameters.json')
  const provider = { operations: rows('x'), lineage: ['acme'] }
  writeFileSync(file, '{')
  await expect(describedOperations(provider, dir)).rejects.toThrow(file)
  writeFileSync(file, '{"parameters":[],"operations":[["x","Does x"]]}')
  expect((await describedOperations(provider, dir)).get('x')?.summary).toBe('Does x')
})
