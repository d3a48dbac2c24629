// What every later version reads, kept as the first one wrote it: docs/operate/upgrade.md promises it.
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { auditVerify } from '../proxy/commands/audit.ts'
import { load } from '../proxy/config/load.ts'
import { startDeputy } from './support/deputy.ts'
import { startUpstream } from './support/upstream.ts'

const kept = (name: string): string =>
  fileURLToPath(new URL(`fixtures/promised/${name}`, import.meta.url))
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

test('a configuration', async () => {
  const read = await load(kept('deputy.yaml'), {
    GITHUB_CLIENT_ID: 'Iv1.0123456789abcdef',
    PAGES_SECRET: 'a-secret-of-nobody-0123456789abcdef',
    HOOK_KEY: 'a-key-of-nobody-0123456789abcdef',
    OPERATOR_TOKEN: 'a-bearer-of-nobody-0123456789abcdef',
  })
  expect('problems' in read ? read.problems : []).toEqual([])
  expect('loaded' in read && [...read.loaded.connections.keys()]).toEqual(['github'])
})

test('evidence and its anchors', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-promised-'))
  ends.push(() => rmSync(dir, { recursive: true }))
  const keys = join(dir, 'ring.json')
  copyFileSync(kept('ring.json'), keys)
  chmodSync(keys, 0o600) // git keeps no such mode
  const said: string[] = []
  const print = (line: string): void => void said.push(line)
  expect(await auditVerify({ files: [kept('audit.jsonl')], keys, print }), said.join('\n')).toBe(0)
  expect(said.join('\n')).toContain('11 lines of 1 process: whole')
})

test('a policy bundle', async () => {
  const upstream = await startUpstream()
  ends.push(upstream.close)
  upstream.people.set('at-alice', 'alice')
  const deputy = await startDeputy({
    upstream: upstream.origin,
    held: [{ person: 'alice', token: 'at-alice' }],
    config: { policy: { bundle: kept('bundle.tar.gz'), data: './tables' } },
  })
  ends.push(() => deputy.close())
  const ask = async (path: string): Promise<string> => {
    const answer = await fetch(`${deputy.agent}/api.acme.test${path}`, {
      headers: { 'deputy-user': 'alice' },
    })
    return answer.headers.get('deputy-answer') ?? String(answer.status)
  }
  expect(await ask('/a')).toBe('200')
  expect(await ask('/secret/admin')).toBe('policy_denied')
})
