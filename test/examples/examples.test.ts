// The examples as they are, each against a deputy with the GitHub definition that ships and a scripted GitHub.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { startIssuer, type Issuer } from '../support/issuer.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const KEY = 'canary-crm-key/+-0123456789abcdefghijklmnop='
const OPERATOR = 'canary-operator-0123456789abcdefghijklmnop'
let upstream: Upstream
let people: Issuer
let laptop: Deputy
let backend: Deputy
const github = (): Fields => ({
  provider: 'github',
  client_id: 'deputy',
  client_secret: 'canary-github-secret-0000000000000000',
  scopes: ['repo', 'read:user'],
  hosts: { 'api.github.com': upstream.origin },
})
const ids = ['alice', 'bob']
const far = (id: string) => ({ tenant: 'default', realm: 'corp', id: `${id}@acme.example` })
const held = (person: string | ReturnType<typeof far>, token: string, agent: string) => ({
  person,
  agent,
  token,
  connection: 'github',
  scopes: ['repo', 'read:user'],
})
beforeAll(async () => {
  ;[upstream, people] = await Promise.all([startUpstream(), startIssuer()])
  upstream.people.set('at-alice-0123456789', 'alice-gh')
  upstream.handle = ({ url, who }, res) => {
    const body = url.startsWith('/repos/') ? [{ number: 7, title: 'Login fails' }] : { login: who }
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  const shared = { providers: [], connections: { github: github() } }
  laptop = await startDeputy({
    upstream: upstream.origin,
    held: [held('alice', 'at-alice-0123456789', 'laptop')],
    config: {
      ...shared,
      tools: { endpoints: [{ path: '/mcp', tools: ['Github.ListIssues', 'Github.CreateIssue'] }] },
    },
  })
  backend = await startDeputy({
    upstream: upstream.origin,
    people: ids.map((id) => ({
      id: far(id).id,
      groups: ['staff'],
      roles: ['operator-run'],
    })),
    held: [held(far('alice'), 'at-alice-0123456789', 'agent:crm')],
    config: {
      ...shared,
      identity: {
        trust: 'asserted',
        issuers: [{ issuer: people.url, audience: 'deputy', realm: 'corp' }],
      },
      connect: { verifier: { url: 'https://app.example/verify', key: 'k'.repeat(32) } },
      operators: [{ name: 'ops', bearer: OPERATOR, may: ['runs'] }],
      applications: [{ name: 'crm', bearer: KEY, agent: 'agent:crm', people: ['*@acme.example'] }],
    },
  })
})
afterAll(async () => {
  await Promise.all([laptop.close(), backend.close()])
  await upstream.close()
  people.close()
})

const run = async (name: string, env: Readonly<Record<string, string>>): Promise<string> => {
  const file = fileURLToPath(new URL(`../../examples/${name}/agent.js`, import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [file], { env, timeout: 110_000 })
  return stdout
}
const LINK = /^(?:bob@acme\.example: p|P)lease open http:\/\/[\w.:]+\/connect\/[\w-]{43}$/m

test('plain SDK code', async () => {
  expect(await run('sdk', { DEPUTY: laptop.agent, PERSON: 'alice' })).toBe('#7 Login fails\n')
  expect(await run('sdk', { DEPUTY: laptop.agent, PERSON: 'bob' })).toMatch(LINK)
})
test('an MCP host', async () => {
  expect(await run('mcp-host', { DEPUTY: laptop.agent, PERSON: 'alice' })).toContain('Login fails')
  expect(await run('mcp-host', { DEPUTY: laptop.agent, PERSON: 'bob' })).toMatch(LINK)
})
test('a web backend with many users', async () => {
  const PEOPLE = ids.map((id) => far(id).id).join(',')
  const said = await run('backend', { DEPUTY: backend.agent, KEY, PEOPLE })
  expect(said).toContain('alice@acme.example: alice-gh\n')
  expect(said).toMatch(LINK)
})
test('a nightly job', async () => {
  const api = (method: string, path: string, body?: object) =>
    fetch(`${backend.connect}/v1/admin/runs${path}`, {
      method,
      headers: { authorization: `Bearer ${OPERATOR}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  const answer = await api('POST', '', {
    user_id: far('alice').id,
    realm: 'corp',
    agent: 'agent:crm',
    connections: ['github'],
    expires_in: 600,
  })
  const text = await answer.text()
  expect([answer.status, text]).toEqual([expect.toSatisfy((n: number) => n < 300), text])
  const { token, id } = JSON.parse(text) as { readonly token: string; readonly id: string }
  const env = { DEPUTY: backend.agent, RUN: token }
  expect(await run('nightly', env)).toBe('1 open: Login fails\n')
  await api('DELETE', `/${id}`)
  expect(await run('nightly', env)).toBe('Not done: unauthenticated\n')
})
for (const name of ['openai-agents', 'langchain'])
  test(`an agent of ${name}`, async () => {
    expect(await run(name, { DEPUTY: laptop.agent, PERSON: 'alice' })).toContain('Login fails')
    expect(await run(name, { DEPUTY: laptop.agent, PERSON: 'bob' })).toMatch(
      /Ask the person to open http:\/\/\S+\/connect\/[\w-]{43}/,
    )
  })
