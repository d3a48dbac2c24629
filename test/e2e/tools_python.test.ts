// Tools with the unmodified Python client: a backend with one key lists, reads and carries out for each of its users, and
// tries again once they have consented.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { CLIENT as SECRET, startHouse, type House } from '../support/house.ts'
import type { Fields } from '../support/deputy.ts'

/** A Python that has the client; `.ci/run` makes this one. */
const PYTHON =
  process.env['DEPUTY_ARCADEPY'] ?? join(homedir(), '.cache/deputy-ci/arcadepy-1.10.0/bin/python')
const CLIENT = fileURLToPath(new URL('../api/arcadepy_client.py', import.meta.url))
const missing = existsSync(PYTHON) ? null : `${PYTHON} is missing: .ci/run makes it`
if (missing !== null && process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)
if (missing !== null) process.stderr.write(`SKIPPED: ${missing}\n`)

const KEY = 'canary-crm-key/+-0123456789abcdefghijklmnop='
/** One of its connections: each tool has one place. */
const CONNECTION = {
  provider: 'acme',
  client_id: 'deputy',
  client_secret: SECRET,
  scopes: ['openid', 'notes', 'mail'],
}
const TOOLS = `
provider: acme
tools:
  Acme.Rename:
    description: Gives the account another name.
    input: { name: { type: string, required: true } }
    steps: [{ operation: acme.me.write, body: { name: { $arg: name } } }]
  Acme.WhoAmI:
    description: Says whose account it is.
    steps: [{ operation: acme.me.read }]
    result: { keep: { login: /sub } }
`

const needs = missing === null ? '' : ` (SKIPPED: ${missing})`
describe.skipIf(missing !== null)(`arcadepy${needs}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-tools-'))
  let house: House
  beforeAll(async () => {
    const file = join(folder, 'acme.tools.yaml')
    writeFileSync(file, TOOLS)
    house = await startHouse({
      config: {
        applications: [
          { name: 'crm', bearer: KEY, agent: 'agent:crm', tenants: ['acme'], people: ['*'] },
        ],
        tools: { files: [file] },
        connections: { acme: CONNECTION },
      },
    })
    const person = (id: string, groups: readonly string[]) => ({
      id,
      tenant: 'acme',
      realm: 'corp',
      groups,
    })
    const people = [person('alice', ['staff']), person('bob', ['staff']), person('carol', [])]
    writeFileSync(join(house.deputy.dir, 'people.yaml'), JSON.stringify({ people }))
    await house.deputy.reload()
  })
  afterAll(async () => {
    await house.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test('one key, many people: each with their own list, consent and account', async () => {
    const tool = 'acme/Acme.WhoAmI'
    const child = spawn(PYTHON, [CLIENT, 'backend', tool, 'alice', 'bob', 'carol'], {
      env: { ARCADE_BASE_URL: house.deputy.agent, ARCADE_API_KEY: KEY },
    })
    let [out, log] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => void (out += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => void (log += chunk.toString()))
    const ended = new Promise<number | null>((end) => child.once('close', end))
    const answers = (): readonly Fields[] =>
      out
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as Fields)
    const begun = () => answers().filter(({ status }) => status === 'pending')
    const consents = async (user: string, nth: number): Promise<void> => {
      await expect.poll(() => (child.exitCode === null ? begun().length : log)).toBe(nth)
      const link = String(begun().at(-1)?.['url'])
      const at = await house.walk(createBrowser(), link, `${user}-acme`)
      const body = { flow_id: at.searchParams.get('flow_id') ?? '', user_id: user, tenant: 'acme' }
      await house.verifier().post('/v1/auth/confirm_user', { body })
    }
    try {
      await consents('alice', 1)
      await consents('bob', 2)
      expect(await ended, log).toBe(0)
    } finally {
      child.kill('SIGKILL')
    }
    const listed = {
      tools: ['Acme.Rename', 'Acme.WhoAmI'],
      formatted: [
        { function: { name: 'Acme_Rename' } },
        { function: { name: 'Acme_WhoAmI', description: 'Says whose account it is.' } },
      ],
    }
    const whole = (user: string): readonly object[] => [
      { user, ...listed },
      {
        qualified_name: 'Acme.WhoAmI',
        requirements: { met: false, authorization: { id: 'acme', token_status: 'not_started' } },
      },
      {
        name: 'consent_required',
        message: expect.any(String),
        url: expect.stringContaining(`${house.url}/connect/`),
        authorization_id: expect.stringMatching(/^ac_/),
        scopes: ['openid'],
      },
      { status: 'pending', user_id: user, provider_id: 'acme', scopes: ['openid'] },
      { status: 'completed', user_id: user },
      { success: true, output: { value: { login: `${user}-acme` } } },
    ]
    expect(answers()).toMatchObject([
      ...whole('alice'),
      ...whole('bob'),
      { user: 'carol', tools: [], formatted: [] },
    ])
    const decided = house.deputy
      .evidence()
      .filter(({ event, via }) => event === 'decision' && via === 'tool')
    expect(decided).toMatchObject(
      ['alice', 'bob'].flatMap((id) =>
        ['consent_required', 'allow'].map((effect) => ({
          user: { id, asserted_by: 'crm' },
          agent: { id: 'agent:crm' },
          operation: { id: 'acme.me.read' },
          decision: { effect },
        })),
      ),
    )
    expect(`${house.deputy.logged()}${JSON.stringify(house.deputy.evidence())}`).not.toContain(
      'canary-crm',
    )
  })
})
