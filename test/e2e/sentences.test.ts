// The five sentences of policies/README.md in a whole deputy: its tables as they stand there, at providers that record.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parse } from 'yaml'
import { validate } from '../../proxy/commands/validate/command.ts'
import { loadFolder, startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const readme = readFileSync(new URL('../../policies/README.md', import.meta.url), 'utf8')
const tableOf = (name: string): Fields => {
  const [, text = ''] =
    new RegExp(`^# tables/${name}\\.yaml\n([^]*?)^\`\`\``, 'm').exec(readme) ?? []
  return parse(text) as Fields
}
const grants = tableOf('grants') as Readonly<Record<string, Readonly<Record<string, Fields>>>>
const CONNECTIONS = {
  github: { host: 'api.github.com', scopes: ['repo'] },
  google: {
    host: 'gmail.googleapis.com',
    scopes: ['https://www.googleapis.com/auth/gmail.send'],
  },
  slack: { host: 'slack.com', scopes: ['chat:write'] },
} as const
const PEOPLE = [
  { id: 'ida', groups: ['interns'] },
  { id: 'dan', groups: ['engineering'] },
]
/** Who has connected nothing yet. */
const NEW = { id: 'ian', groups: ['interns'] }

/** Three hours of UTC, from one hour before now: over midnight where it is late. */
const now = (): Fields => {
  const hour = new Date().getUTCHours()
  const at = (h: number): string => `${String((h + 24) % 24).padStart(2, '0')}:00`
  return { from: at(hour - 1), to: at(hour + 2) }
}
/** The rows as the book shows them, with another day: it is now, or it is over. */
const inDay = (day: boolean): Fields => {
  const { from, to } = now()
  const when = [day ? { from, to } : { from: to, to: from }]
  return {
    ...grants,
    github: {
      ...grants['github'],
      'write-by-day': { ...grants['github']?.['write-by-day'], when },
    },
  }
}

let upstream: Upstream
let deputy: Deputy | null = null
/** For this agent, which under `plain` is the configuration's word. */
const start = async (agent: string, day = true): Promise<Deputy> => {
  deputy = await startDeputy({
    upstream: upstream.origin,
    people: [...PEOPLE, NEW],
    held: PEOPLE.flatMap(({ id: person }) =>
      Object.entries(CONNECTIONS).map(([connection, { scopes }]) => ({
        person,
        agent,
        connection,
        token: `at-${person}`,
        scopes,
      })),
    ),
    tables: {
      group_roles: tableOf('group_roles'),
      grants: inDay(day),
      agents: tableOf('agents'),
    },
    config: {
      identity: { trust: 'plain', agent },
      providers: [],
      connections: Object.fromEntries(
        Object.entries(CONNECTIONS).map(([id, { host, scopes }]) => [
          id,
          {
            provider: id,
            client_id: 'deputy',
            client_secret: 'x'.repeat(32),
            scopes,
            hosts: { [host]: upstream.origin },
          },
        ]),
      ),
    },
  })
  return deputy
}
beforeEach(async () => {
  upstream = await startUpstream()
  for (const { id } of PEOPLE) upstream.people.set(`at-${id}`, id)
})
afterEach(async () => {
  await deputy?.close()
  deputy = null
  await upstream?.close()
})

const call = async (who: string, method: string, path: string, body?: object) => {
  const answer = await fetch(`${deputy?.agent}/${path}`, {
    method,
    headers: { 'deputy-user': who, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const told = (await answer.json()) as { code?: string; reasons?: readonly string[] }
  return answer.ok ? [] : [answer.status, ...(told.reasons ?? [told.code])]
}
const NO_GRANT = [403, 'no_grant']
const github = (path: string): string => `api.github.com/repos/acme/${path}`

test('interns read issues, in acme/public-* only', async () => {
  await start('triage')
  expect(await call('ida', 'GET', github('public-site/issues'))).toEqual([])
  expect(await call('ida', 'GET', github('payroll/issues'))).toEqual(NO_GRANT)
  expect(await call('ida', 'GET', github('public-site%2Fpayroll/issues'))).not.toEqual([])
  expect(await call('ida', 'POST', github('public-site/issues'), { title: 'x' })).toEqual(NO_GRANT)
  expect(upstream.seen.map(({ url }) => url)).toEqual(['/repos/acme/public-site/issues'])
})

test('whom a row lets read some repositories may connect an account for it', async () => {
  const { agent } = await start('triage')
  expect(await call('ian', 'GET', github('payroll/issues'))).toEqual(NO_GRANT)
  expect(await call('ian', 'GET', github('public-site/issues'))).toEqual([403, 'consent_required'])
  const begun = await fetch(`${agent}/v1/auth/authorize`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'deputy-user': 'ian' },
    body: JSON.stringify({
      user_id: 'ian',
      auth_requirement: { id: 'github', oauth2: { scopes: ['repo'] } },
    }),
  })
  expect([begun.status, await begun.json()]).toMatchObject([200, { status: 'pending' }])
})

test('at night only the agent nightly writes', async () => {
  const write = () => call('dan', 'POST', github('app/issues'), { title: 'x' })
  const { dir, close } = await start('triage')
  expect(await write()).toEqual([])
  writeFileSync(join(dir, 'tables/grants.json'), JSON.stringify(inDay(false)))
  await expect.poll(write, { interval: 200 }).toEqual(NO_GRANT)
  await close()
  await start('nightly', false)
  expect(await write()).toEqual([])
})

test('nobody’s agent mails outside the company: recipients that nobody read are outside', async () => {
  await start('triage')
  const raw = Buffer.from('To: eve@other.example\r\nSubject: x\r\n\r\nhello').toString('base64url')
  const path = 'gmail.googleapis.com/gmail/v1/users/me/messages/send'
  expect(await call('dan', 'POST', path, { raw })).toEqual(NO_GRANT)
  expect(upstream.seen).toEqual([])
})

test('deleting waits for the manager', async () => {
  await start('triage')
  const deleted = await call('dan', 'DELETE', github('app/issues/comments/7'))
  expect(deleted).toEqual([403, 'approval_required'])
  expect(upstream.seen).toEqual([])
})

test('the agent nightly writes no messages, whoever it acts for', async () => {
  const message = { channel: 'C1', text: 'x' }
  const path = 'slack.com/api/chat.postMessage'
  await start('nightly')
  expect(await call('dan', 'POST', path, message)).toEqual([403, 'agent_ceiling'])
})

test('a row that contradicts another, and a ceiling of no connection, are named by validate', async () => {
  const { dir } = await start('triage')
  const lines: string[] = []
  const problems = async (): Promise<string> => {
    lines.length = 0
    const told = (line: string): void => void lines.push(line)
    await validate({
      loaded: await loadFolder(dir),
      offline: true,
      print: told,
      complain: told,
    })
    return lines.join('\n')
  }
  expect(await problems()).not.toContain('tables/')
  const hourly = (limit: number): Fields => ({
    ...grants['slack']?.['messages'],
    obligations: {
      hourly: { type: 'rate_limit', properties: { key: ['person'], limit, window_s: 3600 } },
    },
  })
  const clash = { ...grants, slack: { messages: hourly(20), more: hourly(30) } }
  writeFileSync(join(dir, 'tables/grants.json'), JSON.stringify(clash))
  writeFileSync(
    join(dir, 'tables/agents.json'),
    JSON.stringify({ nightly: [{ connections: ['gitlab'] }] }),
  )
  expect(await problems()).toMatch(
    /grants\.json: slack\.more\.obligations\.hourly: the row "messages" may cover the same call[^]*agents\.json: nightly\.0\.connections: there is no connection "gitlab"/,
  )
})
