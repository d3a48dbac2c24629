// Rows of the configuration → whom a deputy believes.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { certificateRows, readWorkloads, sourceOf } from '../../proxy/compose/issuers.ts'
import { parseConfig } from '../../proxy/config/parse.ts'

const ISSUER = 'https://kubernetes.default.svc'
let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-issuers-'))
  writeFileSync(join(folder, 'token'), 'own')
  writeFileSync(join(folder, 'bundle'), '{"keys":[]}')
  execFileSync('mkfifo', [join(folder, 'pipe')])
})
afterAll(() => rmSync(folder, { recursive: true }))
const at = (path: string): string => join(folder, path)
const rowsOf = (...workloads: readonly object[]) => {
  const parsed = parseConfig({
    version: 1,
    identity: { trust: 'plain' },
    policy: { bundle: './bundle.tar.gz' },
    connections: { github: { provider: 'github' } },
    vault: { keys: './keys.json' },
    connect: { sign_in: 'local' },
    listeners: { agent_tls: { listen: '127.0.0.1:0', cert: 'a', key: 'b', client_ca: 'c' } },
    workloads: [
      { name: 'shown', agent: 'c', certificate: { dns: 'c.test', uri: 'u' } },
      ...workloads,
    ],
  })
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  return parsed.config
}
const row = { name: 'a', issuer: ISSUER, match: { '/sub': 'a' }, agent: 'a' }
const asked = (token: string) => ({ ...row, token_review: { server: ISSUER, token } })

test('tokens live for ten minutes where keys verify them, unless told otherwise', async () => {
  const ageOf = async (one: object) => (await readWorkloads(rowsOf(one), ISSUER, at))?.maxAge
  expect(await ageOf(row)).toBe(600_000)
  expect(await ageOf({ ...row, max_age: '1h' })).toBe(3_600_000)
  expect(await ageOf(asked('token'))).toBe(3_600_000)
  expect(await ageOf({ ...asked('token'), max_age: '5m' })).toBe(300_000)
})

test('rows are read by their issuer or trust domain, and those of certificates apart', async () => {
  const spiffe = {
    name: 'b',
    spiffe: 'spiffe://corp',
    jwks: 'bundle',
    match: { '/sub': 'b' },
    agent: 'b',
  }
  const config = rowsOf(row, { ...row, name: 'c' }, spiffe)
  expect(config.workloads.map(sourceOf)).toEqual(['', ISSUER, ISSUER, 'spiffe://corp'])
  expect((await readWorkloads(config, ISSUER, at))?.rows.map(({ name }) => name)).toEqual([
    'a',
    'c',
  ])
  expect(await readWorkloads(config, 'spiffe://corp', at)).toMatchObject({
    issuer: 'spiffe://corp',
    spiffe: 'corp',
    jwksFile: at('bundle'),
    review: null,
  })
  expect(await readWorkloads(config, '', at)).toBeNull()
  expect(certificateRows(config)).toEqual([
    {
      name: 'shown',
      agent: 'c',
      match: [
        ['/uri', 'u'],
        ['/dns', 'c.test'],
      ],
    },
  ])
})

test.each([
  ['none', /workloads\.1\.token_review\.token: .*none does not exist/],
  ['pipe', /workloads\.1\.token_review\.token: .*pipe: is no file: a pipe is there/],
])('a deputy whose own token is %s does not start', async (token, said) => {
  await expect(readWorkloads(rowsOf(asked(token)), ISSUER, at)).rejects.toThrow(said)
})

test('what is no bundle and no authority is told', async () => {
  const spiffe = {
    name: 'b',
    spiffe: 'spiffe://corp',
    jwks: 'token',
    match: { '/sub': 'b' },
    agent: 'b',
  }
  await expect(readWorkloads(rowsOf(spiffe), 'spiffe://corp', at)).rejects.toThrow(
    'token is no SPIFFE bundle',
  )
  const { token_review: review } = asked('token')
  await expect(
    readWorkloads(rowsOf({ ...row, token_review: { ...review, ca: 'token' } }), ISSUER, at),
  ).rejects.toThrow(/workloads\.1\.token_review\.ca: .*is no list of certificates/)
})
