import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { classifying } from './classify.ts'
import { measurable, root } from './processes.ts'
import { spent } from './profile.ts'
import { markdown, page, right, sound, type Report, type Section, type Whole } from './report.ts'

test.skipIf(!measurable())(
  'every contender answers every call, and the upstream sees exactly the token of the person that each call is for',
  { timeout: 600_000 },
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'deputy-bench-'))
    try {
      const json = join(folder, 'report.json')
      const run = spawnSync(
        process.execPath,
        'bin/run.js test/bench/bench.ts --quick --only calls --window 1000 --json'
          .split(' ')
          .concat(json),
        { cwd: root, encoding: 'utf8', timeout: 580_000 },
      )
      expect(run.status, run.stderr).toBe(0)
      const whole = JSON.parse(readFileSync(json, 'utf8')) as Whole
      const report = whole.calls
      if (report === null) throw new Error('no calls were measured')
      expect(report.rows.map(({ name }) => name)).toEqual([
        'http-proxy-3',
        'undici',
        'node:http',
        'deputy, plain',
        'deputy, asserted',
      ])
      expect(report.fewer.map(({ connections }) => connections)).toEqual([1, 4])
      for (const { rows } of report.fewer)
        expect(rows.map(({ name }) => name)).toEqual([
          'no proxy',
          ...report.rows.map(({ name }) => name),
        ])
      const fewer = report.fewer.flatMap(({ rows }) => rows)
      for (const row of [...report.rows, ...fewer, ...report.grown]) {
        expect(row.requests, row.name).toBeGreaterThan(0)
        // A call without its person's own token, or with the forged one or the tag still on it, counts as foreign.
        expect(row, row.name).toMatchObject({ errors: 0, foreign: 0 })
      }
      expect(run.stdout).toBe(page(whole))
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
    how: 'at once',
    pinned: true,
    rows: [row],
    fewer: [],
    grown: [],
    policy: { bytes: 712, bestDecile: 15, median: 16 },
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

test('a part that got something wrong is not right, and the report says what', () => {
  const section: Section = {
    title: 'Refresh storm',
    columns: ['store', 'requests'],
    rows: [['SQLite', '2']],
    notes: ['all at once'],
    wrong: [],
    skipped: ['PostgreSQL does not start'],
  }
  const whole: Whole = { machine: 'a machine', calls: null, sections: [section] }
  expect(right(whole)).toBe(true)
  expect(page(whole)).toBe(
    'a machine\n\n## Refresh storm\n\n| store | requests |\n| --- | ---: |\n| SQLite | 2 |\n\n- all at once\n- SKIPPED: PostgreSQL does not start\n',
  )
  const bad = { ...whole, sections: [{ ...section, wrong: ['2 requests, not 1'] }] }
  expect(right(bad)).toBe(false)
  expect(page(bad)).toContain('- WRONG: 2 requests, not 1')
})

test.skipIf(!measurable())(
  'each further part does its work and finds nothing wrong with it; a part of no such name is refused',
  { timeout: 180_000 },
  () => {
    const run = (...args: readonly string[]) =>
      spawnSync(process.execPath, ['bin/run.js', 'test/bench/bench.ts', ...args], {
        cwd: root,
        encoding: 'utf8',
        timeout: 170_000,
      })
    const done = run('--quick', '--only', 'starts,vault,refresh,consent,agents,pages,scim,bundles')
    expect(done.status, done.stdout + done.stderr).toBe(0)
    expect([...done.stdout.matchAll(/^## (.*)$/gm)].map(([, title]) => title)).toEqual([
      'Starts by what is configured',
      'Vault',
      'Refresh storm',
      'Consent',
      'Agents',
      'Pages',
      'SCIM',
      'Bundles',
    ])
    expect(done.stdout).toMatch(/^\| SQLite, 1 \| 40 \| 1 \|/m)
    expect(run('--only', 'vaults').status).toBe(64)
  },
)

test.skipIf(!measurable())(
  'a crowd is made and grown, and its people call as themselves; every program is started, and its calls wait and stream',
  { timeout: 240_000 },
  () => {
    const run = spawnSync(
      process.execPath,
      'bin/run.js test/bench/bench.ts --quick --only programs,scale'.split(' '),
      { cwd: root, encoding: 'utf8', timeout: 230_000 },
    )
    expect(run.status, run.stdout + run.stderr).toBe(0)
    const rows = (pattern: RegExp) => [...run.stdout.matchAll(pattern)].map(([, ...cells]) => cells)
    const programs = rows(/^\| (\S.*?) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$/gm)
    expect(programs.map(([name]) => name)).toEqual(
      expect.arrayContaining(['http-proxy-3', 'undici', 'node:http', 'deputy']),
    )
    for (const [name, ...cells] of programs)
      for (const cell of cells) expect(Number(cell), name).toBeGreaterThan(0)
    // Whoever called with a token that is not theirs would be said to be wrong above.
    const crowds = rows(/^\| (100|1000) \| (SQLite, a file|SQLite, SCIM|PostgreSQL, SCIM) \|/gm)
    expect(crowds).toEqual(
      expect.arrayContaining([
        ['100', 'SQLite, a file'],
        ['100', 'SQLite, SCIM'],
        ['1000', 'SQLite, a file'],
        ['1000', 'SQLite, SCIM'],
      ]),
    )
  },
)

test.skipIf(!measurable())(
  'a call by MCP is answered like the same call through the proxy’s door, as the same person, and a list of forty is whole',
  { timeout: 180_000 },
  () => {
    const run = spawnSync(
      process.execPath,
      'bin/run.js test/bench/bench.ts --quick --only tools --window 2000 --connections 4'.split(
        ' ',
      ),
      { cwd: root, encoding: 'utf8', timeout: 170_000 },
    )
    expect(run.status, run.stdout + run.stderr).toBe(0)
    expect(run.stdout).toContain('## Tools')
    expect(
      [...run.stdout.matchAll(/^\| (.*?) \| \d+ \| [\d.]+ × \|/gm)].map(([, way]) => way),
    ).toEqual([
      'the proxy’s door',
      'tools/call',
      'tools/list of 40',
      '/v1/tools?plain=true, 10 of 40',
    ])
  },
)

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

test('every template of a catalogue is found again, however many there are', () => {
  for (const templates of [10, 5_000]) {
    const { right, calls } = classifying(templates, 1)
    expect([templates, right]).toEqual([templates, calls])
    expect(calls).toBe(Math.min(templates, 1_000))
  }
})
