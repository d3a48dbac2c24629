import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { measurable, root } from './processes.ts'
import { spent } from './profile.ts'
import { markdown, sound, type Report } from './report.ts'

test.skipIf(!measurable())(
  'every contender answers every call, and the upstream sees exactly the token of the person that each call is for',
  { timeout: 120_000 },
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'deputy-bench-'))
    try {
      const json = join(folder, 'report.json')
      const run = spawnSync(
        process.execPath,
        ['bin/run.js', 'test/bench/bench.ts', '--quick', '--window', '200', '--json', json],
        { cwd: root, encoding: 'utf8', timeout: 110_000 },
      )
      expect(run.status, run.stderr).toBe(0)
      const report = JSON.parse(readFileSync(json, 'utf8')) as Report
      expect(report.rows.map(({ name }) => name)).toEqual([
        'http-proxy-3',
        'undici',
        'node:http',
        'deputy, plain',
        'deputy, asserted',
      ])
      for (const row of [...report.rows, ...report.single, ...report.grown]) {
        expect(row.requests, row.name).toBeGreaterThan(0)
        // A call without its person's own token, or with the forged one or the tag still on it, counts as foreign.
        expect(row, row.name).toMatchObject({ errors: 0, foreign: 0 })
      }
      expect(run.stdout).toBe(markdown(report))
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
)

test('a run in which one call went out as somebody else is not sound, and the report says so', () => {
  const row = {
    name: 'deputy, plain',
    requests: 10,
    errors: 0,
    foreign: 0,
    perSecond: 10,
    cpu: 80,
    p50: 1,
    p99: 2,
    proxyBusy: 1,
    loadBusy: 0.5,
  }
  const report: Report = {
    machine: 'a machine',
    pinned: true,
    rows: [row],
    single: [],
    grown: [],
    policy: { bytes: 712, bestDecile: 15, median: 16 },
    startMs: 200,
    idleMb: 80,
    loadedMb: 100,
    skipped: [],
  }
  expect(sound(report)).toBe(true)
  expect(sound({ ...report, rows: [] })).toBe(false)
  expect(sound({ ...report, rows: [{ ...row, errors: 1 }] })).toBe(false)
  const foreign = { ...report, rows: [{ ...row, foreign: 1 }] }
  expect(sound(foreign)).toBe(false)
  expect(markdown(foreign)).toContain('deputy, plain: 0 errors, 1 calls with a foreign token')
})

test('time in a profile belongs to the function itself and to all that called it, recursion once', () => {
  const frame = (functionName: string) => ({ functionName, url: 'file:///x/a.ts', lineNumber: 4 })
  const found = spent(
    {
      nodes: [
        { id: 1, callFrame: { functionName: '(root)', url: '', lineNumber: -1 }, children: [2, 5] },
        { id: 2, callFrame: frame('outer'), children: [3] },
        { id: 3, callFrame: frame('inner'), children: [4] },
        { id: 4, callFrame: frame('outer') },
        { id: 5, callFrame: { functionName: '(idle)', url: '', lineNumber: -1 } },
      ],
      samples: [2, 3, 4, 5],
      timeDeltas: [10, 60, 30, 1_000],
    },
    '/x/',
  )
  expect(found).toEqual([
    { where: 'inner a.ts:5', self: 0.6, total: 0.9 },
    { where: 'outer a.ts:5', self: 0.4, total: 1 },
  ])
})
