// `agents`: rows that people are shown. What is wrong is told with its place, and nothing passes for something else.
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { agentRows, agentsOf } from '../../proxy/config/agents.ts'
import { load } from '../../proxy/config/load.ts'
import { said } from '../../proxy/mistakes.ts'

const SEVERAL = { tenants: ['acme', 'other'], realms: ['corp'] }
const wrong = (row: object): readonly string[] =>
  agentRows.safeParse([{ id: 'a', ...row }]).error?.issues.flatMap(said) ?? []

const folder = () => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-agents-'))
  const base = (agents: string): string =>
    `version: 1\nidentity: { trust: plain }\npolicy: { bundle: b.tar.gz }\nvault: { keys: keys.json }\nconnections: { github: { provider: github, client_id: c, client_secret: s } }\nconnect: { sign_in: local }\nagents: ${agents}\n`
  return {
    dir,
    read: async (agents: string) => {
      writeFileSync(join(dir, 'deputy.yaml'), base(agents))
      return load(join(dir, 'deputy.yaml'), {})
    },
    write: (name: string, text: string): void => {
      mkdirSync(join(dir, 'who'), { recursive: true })
      writeFileSync(join(dir, name), text)
    },
  }
}
const problemsOf = async (result: ReturnType<typeof load>): Promise<readonly string[]> => {
  const done = await result
  return 'problems' in done ? done.problems : []
}

describe('a row', () => {
  test('is an agent with an owner by all three parts, as far as only one is possible', () => {
    const rows = agentRows.parse([
      {
        id: 'agent:triage',
        name: 'Triage',
        owner: { id: 'bob', tenant: 'acme' },
        logo: 'triage.svg',
        contact: 'mailto:triage@acme.example',
        workload: 'cluster',
      },
      { id: 'agent:plain' },
    ])
    const { agents, problems } = agentsOf(rows, SEVERAL)
    expect(problems).toEqual([])
    expect(agents.get('agent:triage')).toEqual({
      id: 'agent:triage',
      name: 'Triage',
      owner: { id: 'bob', tenant: 'acme', realm: 'corp' },
      switched: 'acme',
      logo: 'triage.svg',
      contact: 'mailto:triage@acme.example',
      workload: 'cluster',
    })
    expect(agents.get('agent:plain')).toMatchObject({ name: 'agent:plain', owner: null })
  })

  test('its owner switches it for their tenant, or for all where there is one or the row says so', () => {
    const owner = { id: 'bob', tenant: 'acme' }
    const rows = agentRows.parse([
      { id: 'a', owner },
      { id: 'b', owner: { ...owner, everywhere: true } },
      { id: 'c', owner: { ...owner, everywhere: false } },
    ])
    const switched = (naming: typeof SEVERAL) =>
      [...agentsOf(rows, naming).agents.values()].map((each) => each.switched)
    expect(switched(SEVERAL)).toEqual(['acme', null, 'acme'])
    expect(switched({ ...SEVERAL, tenants: ['acme'] })).toEqual([null, null, null])
  })

  test('an owner whose tenant is open or unknown, and an agent twice, are mistakes', () => {
    const rows = agentRows.parse([
      { id: 'a', owner: 'bob' },
      { id: 'a', owner: { id: 'bob', tenant: 'Acme' } },
    ])
    expect(agentsOf(rows, SEVERAL).problems).toEqual([
      '0.owner.tenant: is missing, and identity knows several: write owner: { id, tenant, realm } with one of acme, other',
      '1.id: a is there twice: keep one',
      '1.owner.tenant: identity knows no tenant "Acme": one of acme, other',
    ])
  })

  test.each([
    ['a name that turns its own reading', { name: 'evil\u202egnp.exe' }, '0.name: has control'],
    ['a name of several lines', { name: 'a\nb' }, '0.name: has control'],
    ['a name that cannot be seen', { name: '\u200b' }, '0.name: has control'],
    ['a very long name', { name: 'x'.repeat(81) }, '0.name: is longer than 80'],
    ['an id that turns its own reading', { id: 'a\u202eb' }, '0.id: must be at most 256 bytes'],
    ['an id that is no part of an address', { id: '..' }, '0.id: cannot be part of an address'],
    ['a contact that is a script', { contact: 'javascript:alert(1)' }, '0.contact: must be an'],
    ['a contact without its lock', { contact: 'http://acme.example' }, '0.contact: must be an'],
    ['a logo of elsewhere', { logo: 'https://evil.example/x.svg' }, '0.logo: must be a file'],
    ['a logo of any scheme', { logo: '//evil.example/x.svg' }, '0.logo: must be a file'],
    ['a logo within the row', { logo: 'data:image/png;base64,AA' }, '0.logo: must be a file'],
    ['an owner of nothing', { owner: '' }, '0.owner'],
    ['an owner that is a list', { owner: ['bob'] }, '0.owner'],
    ['a workload of several lines', { workload: 'a\u0007' }, '0.workload: has control'],
    ['a key that nobody knows', { colour: 'red' }, '0.colour: is no key'],
  ])('%s is refused', (_what, row, message) => {
    expect(wrong(row).join('\n')).toContain(message)
  })
})

describe('the key', () => {
  test('names a file that is read and watched, with logos beside it; or holds the rows', async () => {
    const { dir, read, write } = folder()
    write('who/agents.yaml', '- { id: a, logo: a.svg, owner: bob }\n')
    const result = await read('./who/agents.yaml')
    if ('problems' in result) throw new Error(result.problems.join('\n'))
    const { agents, sources } = result.loaded
    expect(agents.get('a')).toMatchObject({
      logo: join(dir, 'who/a.svg'),
      owner: { id: 'bob', tenant: 'default', realm: 'local' },
    })
    expect(sources.files).toContain(join(dir, 'who/agents.yaml'))
    const inline = await read('[ { id: a, name: A, logo: a.svg } ]')
    expect('loaded' in inline && inline.loaded.agents.get('a')).toMatchObject({
      name: 'A',
      logo: join(dir, 'a.svg'),
    })
  })

  test('every mistake is told with the file, the row and the member', async () => {
    const { dir, read, write } = folder()
    const file = join(dir, 'who/agents.yaml')
    write('who/agents.yaml', '- { id: a, contact: "ftp://x" }\n- { name: b }\n')
    expect(await problemsOf(read('who/agents.yaml'))).toEqual([
      `${file}: 0.contact: must be an address that begins with https:// or mailto:`,
      `${file}: 1.id: is missing`,
    ])
    write('who/agents.yaml', 'a: {}\n')
    expect(await problemsOf(read('who/agents.yaml'))).toEqual([
      `${file}: configuration: must be a list`,
    ])
    expect(await problemsOf(read('who/none.yaml'))).toEqual([
      expect.stringMatching(/^agents: .*none\.yaml/),
    ])
    expect(
      await problemsOf(read('[ { id: a, owner: { id: bob, tenant: x } }, { id: a } ]')),
    ).toEqual([
      'agents.0.owner.tenant: identity knows no tenant "x": one of default',
      'agents.1.id: a is there twice: keep one',
    ])
    expect(await problemsOf(read('[ { id: a, name: "" } ]'))).toEqual([
      'agents.0.name: must not be empty',
    ])
  })
})
