// What it costs to ask why: one exchange found and explained, and another policy asked about every recorded call.
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ANCHORED } from '../../proxy/audit/chain.ts'
import { openJournal } from '../../proxy/audit/journal.ts'
import { policyDiff } from '../../proxy/commands/why/diff.ts'
import { policyExplain } from '../../proxy/commands/why/explain.ts'
import { load } from '../../proxy/config/load.ts'
import { factsDigest } from '../../proxy/directory/source.ts'
import { newKeyRing } from '../../proxy/vault/seal.ts'
import { say, type Size } from './calls.ts'
import { root } from './processes.ts'
import { n, type Section } from './report.ts'

const PEOPLE = 50
const groupOf = (i: number): string => (i % 5 === 0 ? 'staff' : 'engineering')
const CALLS = [
  ['GET', 'issues', 'issues.listForRepo', 'read'],
  ['GET', 'pulls', 'pulls.list', 'read'],
  ['GET', 'contents/README.md', 'repos.getContent', 'read'],
  ['POST', 'issues', 'issues.create', 'write'],
] as const

export const configured = async (folder: string) => {
  writeFileSync(join(folder, 'keys.json'), newKeyRing(Date.now(), randomBytes), { mode: 0o600 })
  writeFileSync(
    join(folder, 'people.yaml'),
    JSON.stringify({
      people: Array.from({ length: PEOPLE }, (_, i) => ({
        id: `person-${i}`,
        groups: [groupOf(i)],
      })),
    }),
  )
  writeFileSync(
    join(folder, 'deputy.yaml'),
    JSON.stringify({
      version: 1,
      identity: { trust: 'plain', agent: 'bench', realm: 'local' },
      entitlements: { source: 'file', file: './people.yaml' },
      policy: { bundle: join(root, 'policies/bundle.tar.gz') },
      connections: {
        github: {
          provider: 'github',
          client_id: 'c',
          client_secret: 's',
          scopes: ['repo', 'read:org'],
        },
      },
      vault: { store: 'sqlite:deputy.db', keys: './keys.json' },
      connect: { sign_in: 'local' },
      audit: { sink: ['file:audit.jsonl'] },
    }),
  )
  const result = await load(join(folder, 'deputy.yaml'), {})
  if ('problems' in result) throw new Error(result.problems.join('\n'))
  return result.loaded
}

/** @param repos how many different paths there are; few are as agents call, as many as records the worst */
export const record = async (file: string, records: number, repos: number): Promise<void> => {
  const quiet = (): void => undefined
  const journal = await openJournal({
    sinks: [{ file }],
    fsync: 'never',
    clock: { now: Date.now, mono: () => performance.now() },
    proc: 'BENCH',
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    anchor: { sign: () => ({ kid: 'k', signature: 's' }), ...ANCHORED },
  })
  let waiting: Promise<void>[] = []
  for (let i = 0; i < records; i++) {
    const [method, path, id, access] = CALLS[i % CALLS.length] ?? CALLS[0]
    const groups = [groupOf(i % PEOPLE)]
    const digest = factsDigest({ active: true, groups, roles: [], entitlements: [] })
    const allowed = access === 'read' || groups[0] === 'engineering'
    const fields = {
      exchange: `X${i}`,
      n: 1,
      trace_id: null,
      user: { id: `person-${i % PEOPLE}`, realm: 'local', tenant: 'default', verified: false },
      agent: { id: 'bench' },
      run: null,
      connection: 'github',
      provider: 'github',
      operation: { id, access },
      request: {
        method,
        host: 'api.github.com',
        path: `/repos/acme/app-${i % repos}/${path}`,
        query_keys: [],
        body_digest: null,
      },
      stripped: [],
      entitlements: { source: 'file', age_ms: 0, digest },
      decision: {
        effect: allowed ? 'allow' : 'deny',
        id: `D${i}`,
        reasons: allowed ? [] : ['no_grant'],
        messages: allowed ? [] : ['no grant covers it'],
        grants: allowed ? [access === 'read' ? 'gh-read' : 'gh-write'] : [],
        obligations: [],
      },
      policy: { revision: 'before', digest: 'sha256:before' },
    }
    waiting.push(journal.append('decision', `,${JSON.stringify(fields).slice(1, -1)}`))
    if (allowed) {
      const credential = {
        connection: 'github',
        generation: 1,
        account: 'a',
        scopes: ['repo'],
        refreshed: false,
      }
      const outcome = { exchange: `X${i}`, result: 'ok', sent: true, status: 200, credential }
      waiting.push(journal.append('outcome', `,${JSON.stringify(outcome).slice(1, -1)}`))
    }
    if (waiting.length >= 1_000) {
      await Promise.all(waiting)
      waiting = []
    }
  }
  await Promise.all(waiting)
  await journal.close()
}

/** Part `explain` of `npm run bench`. */
export const measureExplain = async ({ quick, folder }: Size): Promise<Section> => {
  const records = quick ? 10_000 : 100_000
  const at = join(folder, 'explain')
  mkdirSync(at)
  const loaded = await configured(at)
  const grants = { github: {} }
  mkdirSync(join(at, 'narrow'))
  writeFileSync(join(at, 'narrow/grants.json'), JSON.stringify(grants))
  writeFileSync(join(at, 'narrow/role_grants.json'), JSON.stringify({ github: {} }))
  const wrong: string[] = []
  const rows: (readonly string[])[] = []
  const io = (lines: string[]) => ({
    print: (line: string) => void lines.push(line),
    complain: (line: string) => void wrong.push(line),
  })
  for (const [name, repos] of [
    ['1,000 different repositories', 1_000],
    ['each call of its own repository', records],
  ] as const) {
    const file = join(at, `${repos}.jsonl`)
    await record(file, records, repos)
    for (const [what, data, expected] of [
      ['the same tables', undefined, 0],
      ['tables that allow nothing', join(at, 'narrow'), 1],
    ] as const) {
      const lines: string[] = []
      const began = performance.now()
      const code = await policyDiff({
        ...io(lines),
        loaded,
        candidate: join(root, 'policies/bundle.tar.gz'),
        data,
        evidence: [file],
        now: false,
      })
      const ms = performance.now() - began
      if (code !== expected) wrong.push(`diff ended with ${code}: ${lines.slice(-3).join('; ')}`)
      rows.push([`diff with ${what}, ${name}`, n(ms / 1_000, 1), n((records * 1_000) / ms, 0)])
      say(`${rows.at(-1)?.join(' ') ?? ''}: ${lines.at(-2) ?? ''}`)
    }
    const lines: string[] = []
    const began = performance.now()
    const code = await policyExplain({
      ...io(lines),
      loaded,
      what: `X${records - 1}`,
      evidence: [file],
      now: false,
    })
    const ms = performance.now() - began
    if (code !== 0) wrong.push(`explain ended with ${code}: ${lines.join('; ')}`)
    rows.push([`explain the last call, ${name}`, n(ms / 1_000, 1), n((records * 1_000) / ms, 0)])
  }
  return {
    title: `Why: ${records} recorded decisions`,
    columns: ['', 'seconds', 'records a second'],
    rows,
    notes: ['with loading and proving both policies; each is asked in a thread of its own'],
    wrong,
    skipped: [],
  }
}
