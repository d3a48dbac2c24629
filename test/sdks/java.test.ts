// Clients of HTTP that Java's SDKs are made of, with their defaults: over plain http, over TLS and by the proxy.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeCa } from '../../proxy/commands/ca.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { loadFolder, prepareFolder, startDeputy, type Deputy } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { JARS } from '../support/built.ts'
import { javaArgs, javaEnv } from './java.ts'

/** Empty, or why nothing is tried: said aloud; under DEPUTY_NO_SKIP=1 it throws. */
const missing = (): string => {
  const without = opensslMissing()
  if (without !== '' || existsSync(JARS)) return without
  const text = `${JARS} is missing: .ci/run makes it`
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(text)
  process.stderr.write(`SKIPPED: ${text}\n`)
  return ` (SKIPPED: ${text})`
}
const lacks = missing()
const PEOPLE = ['alice', 'bob'] as const
const tokenOf = (person: string): string => `at-${person}-0123456789abcdef`
const folder = mkdtempSync(join(tmpdir(), 'deputy-java-'))
let upstream: Upstream
let deputy: Deputy
let env: Readonly<Record<string, string>> = {}
beforeAll(async () => {
  if (lacks !== '') return
  upstream = await startUpstream()
  for (const person of PEOPLE) upstream.people.set(tokenOf(person), person)
  const { cert, key } = makeCertificate(folder)
  const any = '127.0.0.1:0'
  const setup = {
    upstream: upstream.origin,
    people: [...PEOPLE, 'dave'].map((id) => ({ id, groups: ['staff'] })),
    held: PEOPLE.map((person) => ({ person, token: tokenOf(person) })),
    config: {
      forward: { listen: any, ca: './ca' },
      listeners: { agent: any, admin: any, connect: any, agent_tls: { listen: any, cert, key } },
    },
  }
  const dir = await prepareFolder(setup)
  const loaded = await loadFolder(dir)
  const quiet = (): void => {}
  await makeCa({ loaded, days: 30, renew: false, now: Date.now(), print: quiet, complain: quiet })
  deputy = await startDeputy(setup, dir)
  env = javaEnv(deputy.addresses['forward'] ?? '', [join(dir, 'ca/ca.crt'), cert])
})
afterAll(async () => {
  await deputy?.close()
  await upstream?.close()
  rmSync(folder, { recursive: true })
})

test.skipIf(lacks !== '')(
  `acts as each person, sees each event as it comes, and what is refused in the middle of its body${lacks}`,
  { timeout: 120_000 },
  async () => {
    const open = new Map<string | null, () => void>()
    upstream.handle = ({ who, method, url, body }, res) => {
      if (url === '/events') {
        res.writeHead(200, { 'content-type': 'text/event-stream' }).write(`data: 1 ${who}\n`)
        open.set(who, () => void res.end(`data: 2 ${who}\n`))
        return
      }
      if (url === '/go') open.get(who)?.()
      res
        .writeHead(200, { 'content-type': 'text/plain' })
        .end(`${method} ${who} ${body.toString()}`)
    }
    const at = {
      http: `${deputy.agent}/api.acme.test`,
      tls: `${deputy.addresses['agent_tls']}/api.acme.test`,
      proxy: 'https://api.acme.test',
    }
    const how = { env: { PATH: process.env['PATH'] ?? '', ...env }, timeout: 110_000 }
    const args = [...javaArgs('Plain.java'), ...Object.values(at)]
    const { stdout } = await promisify(execFile)('java', args, how)
    const of = (version: string, person: string) => ({
      version,
      get: `GET ${person} `,
      post: `POST ${person} nine=byte&b=%7`,
      events: [`data: 1 ${person}`, `data: 2 ${person}`],
      refused: 'consent_required',
    })
    const all = (client: string, versions: Readonly<Record<keyof typeof at, string>>) =>
      PEOPLE.flatMap((person) =>
        (['http', 'tls', 'proxy'] as const).map((way) => [
          `${client} ${person} ${at[way]}`,
          of(versions[way], person),
        ]),
      )
    expect(JSON.parse(stdout)).toEqual(
      Object.fromEntries([
        ...all('jdk', { http: 'HTTP_1_1', tls: 'HTTP_2', proxy: 'HTTP_2' }),
        ...all('okhttp', { http: 'HTTP_1_1', tls: 'HTTP_2', proxy: 'HTTP_2' }),
        ...all('apache', { http: 'HTTP/1.1', tls: 'HTTP/1.1', proxy: 'HTTP/1.1' }),
      ]),
    )
    const { seen } = upstream
    expect(seen.filter(({ url }) => url === '/put')).toEqual([])
    const names = seen.flatMap(({ headers }) => Object.keys(headers))
    expect(names.filter((name) => ['upgrade', 'http2-settings'].includes(name))).toEqual([])
  },
)
