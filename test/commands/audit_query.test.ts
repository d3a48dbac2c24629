// `deputy audit query` and `explain`, the commands themselves.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { timeOf } from '../../proxy/commands/audit_query.ts'
import { decision, evidenceOf, outcome } from '../audit/evidence_lines.ts'

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
let folder = ''
let path = ''
const EVIL = '\u001b[31m=x\u202e|<b>\n'
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-audit-query-'))
  path = join(folder, 'audit.jsonl')
  const lines = evidenceOf([
    ['2026-11-28T00:00:01.000Z', 'decision', decision({ exchange: 'A' })],
    ['2026-11-28T00:00:02.000Z', 'outcome', outcome('A')],
    [
      '2026-11-28T00:00:03.000Z',
      'decision',
      decision({ exchange: 'B', user: EVIL, effect: 'deny', reasons: ['no_grant'] }),
    ],
    ['2026-11-28T00:00:04.000Z', 'refused', { exchange: 'C', code: 'unauthenticated' }],
    [
      '2026-11-28T00:00:05.000Z',
      'decision',
      decision({ exchange: 'D', effect: 'consent_required', reasons: ['connection_missing'] }),
    ],
    ['2026-11-28T00:00:09.000Z', 'decision', decision({ exchange: 'D', n: 2 })],
    [
      '2026-11-28T00:00:10.000Z',
      'outcome',
      outcome('D', { result: 'upstream_timeout', sent: false, status: null, credential: null }),
    ],
  ])
  writeFileSync(path, lines.map((line) => `${line}\n`).join(''))
})
afterAll(() => rmSync(folder, { recursive: true }))

const deputy = async (...args: readonly string[]) => {
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [
      command,
      'audit',
      ...args,
    ])
    return { code: 0, stdout, stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
    return { code, stdout, stderr }
  }
}

describe('query', () => {
  test('prints a table, by whoever is asked for', async () => {
    const { code, stdout } = await deputy(
      'query',
      path,
      '--user',
      'alice@example.com',
      '--event',
      'call',
    )
    expect(code).toBe(0)
    const lines = stdout.trim().split('\n')
    expect(lines).toHaveLength(4)
    expect(lines[0]).toMatch(/^time +user +as +agent/)
    expect(lines[1]).toMatch(
      /alice@example\.com +alice-gh +agent:triage +github +issues\.create +allow +201/,
    )
  })

  test.each(['text', 'markdown', 'csv', 'jsonl', 'ocsf'])(
    'hostile texts are only texts as %s',
    async (format) => {
      const { code, stdout } = await deputy('query', path, '--effect', 'deny', '--format', format)
      expect(code).toBe(0)
      expect(stdout).not.toContain('\u001b')
      expect(stdout).not.toContain('\u202e')
      if (format === 'jsonl' || format === 'ocsf')
        for (const line of stdout.trim().split('\n'))
          expect(() => JSON.parse(line) as unknown).not.toThrow()
      // One row stays one row.
      expect(stdout.trim().split('\n')).toHaveLength({ text: 2, markdown: 3, csv: 2 }[format] ?? 1)
    },
  )

  test('counts, limits, and says when nothing fits', async () => {
    expect((await deputy('query', path, '--summary')).stdout).toMatch(/^effect +2 {2}allow$/m)
    expect((await deputy('query', path, '--summary', '--format', 'csv')).stdout).toContain(
      'effect,deny,1',
    )
    const cut = await deputy('query', path, '--event', 'call', '--limit', '1')
    expect([cut.stdout.trim().split('\n').length, cut.stderr]).toEqual([
      2,
      expect.stringContaining('3 more fit'),
    ])
    expect(await deputy('query', path, '--user', 'nobody')).toEqual({
      code: 1,
      stdout: '',
      stderr: 'nothing fits in 8 lines\n',
    })
  })

  test.each([
    [['query', 'FILE', '--since', 'yesterday'], 64, 'yesterday is no time'],
    [['query', 'FILE', '--format', 'xml'], 64, 'Allowed choices are text'],
    [['query', 'FILE', '--limit', 'x'], 64, 'must be a whole number'],
    [['query', '/nowhere/audit.jsonl'], 1, 'could not be read'],
    [['explain', 'A', '/nowhere/audit.jsonl'], 1, 'could not be read'],
    [['explain', 'NONE', 'FILE'], 1, 'there is no exchange NONE'],
  ])('%j says what is wrong', async (args, code, what) => {
    const failed = await deputy(...args.map((arg) => (arg === 'FILE' ? path : arg)))
    expect(failed).toMatchObject({ code, stdout: '' })
    expect(failed.stderr).toContain(what)
  })
})

test('times', () => {
  const now = Date.parse('2026-11-28T12:00:00Z')
  expect(timeOf('90m', now)).toBe(now - 5_400_000)
  expect(timeOf('2026-11-28', now)).toBe(Date.parse('2026-11-28T00:00:00Z'))
  expect(timeOf('2026-11-28T10:00:00', now)).toBe(Date.parse('2026-11-28T10:00:00Z'))
  expect(timeOf('2026-11-28T10:00:00+02:00', now)).toBe(Date.parse('2026-11-28T08:00:00Z'))
  for (const wrong of ['', '7', '7w', 'now', '28.11.2026', '2026-13-01'])
    expect(() => timeOf(wrong, now)).toThrow('is no time')
})
