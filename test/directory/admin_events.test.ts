import { beforeEach, describe, expect, test } from 'vitest'
import { createAdminEvents } from '../../proxy/directory/admin_events.ts'
import { createGet } from '../../proxy/directory/page.ts'

type Row = { readonly id: string; readonly time: number; readonly resourcePath?: string }
let rows: Row[] = []
let recorded: unknown = { adminEventsEnabled: true }
let instead: (() => Response) | null = null
let changes: (readonly string[] | null)[] = []
let asked: URL[] = []
let look: () => Promise<void>
let now = 0
const row = (time: number, resourcePath: string): Row => ({
  id: `${time} ${resourcePath}`,
  time,
  resourcePath,
})

beforeEach(() => {
  rows = []
  now = 10_000_000
  changes = []
  asked = []
  recorded = { adminEventsEnabled: true }
  instead = null
  const get = createGet({
    fetch: async (input) => {
      if (typeof input !== 'string') throw new Error('it asks by a text')
      const url = new URL(input)
      asked.push(url)
      if (instead !== null) return instead()
      if (url.pathname.endsWith('/events/config')) return Response.json(recorded)
      const number = (name: string): number => Number(url.searchParams.get(name) ?? 0)
      const from = rows.filter(({ time }) => time >= number('dateFrom'))
      from.sort((a, b) => a.time - b.time)
      if (url.searchParams.get('direction') !== 'asc') from.reverse()
      return Response.json(from.slice(number('first'), number('first') + number('max')))
    },
    authorization: () => Promise.resolve('Bearer x'),
    clock: { now: Date.now },
  })
  const step = createAdminEvents(
    'https://idp.test/admin/realms/corp',
    get,
    (users) => void changes.push(users),
    () => now,
  )
  look = () => step(new AbortController().signal)
})

describe('the feed of Keycloak', () => {
  test('begins where it stands, and then tells of each change once', async () => {
    rows = [row(1_000, 'users/old'), row(100_000, 'users/older')]
    await look()
    expect(changes).toEqual([null])
    rows.push(row(200_000, 'users/alice/groups/staff'), row(200_001, 'users/bob'))
    rows.push(row(200_002, 'users/alice/role-mappings/realm'))
    await look()
    await look()
    expect(changes).toEqual([null, ['alice', 'bob']])
  })
  test.each(['groups/staff', 'roles/eng', 'roles-by-id/x', 'users/', 'partialImport'])(
    'what %s concerns, nobody can say: everybody',
    async (path) => {
      await look()
      rows.push(row(1, path), row(2, 'users/alice'))
      await look()
      expect(changes).toEqual([null, null])
    },
  )
  test('a node whose clock is ahead hides nothing of what others write', async () => {
    rows = [row(1_000, 'users/x')]
    await look()
    now = 20_000
    rows.push(row(3_600_000, 'users/ahead'))
    await look()
    rows.push(row(21_000, 'users/bob'))
    await look()
    expect(changes).toEqual([null, ['ahead'], ['bob']])
  })
  test('what is written late, with an earlier time, is not missed', async () => {
    rows = [row(1_000, 'users/x')]
    await look()
    rows.push(row(60_000, 'users/bob'))
    await look()
    rows.push(row(55_000, 'users/alice'))
    await look()
    expect(changes.slice(1)).toEqual([['bob'], ['alice']])
  })
  test('of many people, and of more events than are read, everybody is told', async () => {
    await look()
    rows = Array.from({ length: 150 }, (_, i) => row(i + 1, `users/u${i}`))
    await look()
    expect(changes).toEqual([null, null])
    rows = Array.from({ length: 1_500 }, (_, i) => row(50_000 + i, `users/v${i % 9}`))
    await look()
    expect(changes).toEqual([null, null, null])
    asked = []
    rows.push(row(90_000, 'users/alice'))
    await look()
    expect(asked.length).toBeLessThanOrEqual(12)
    rows.push(row(200_000, 'users/bob'))
    await look()
    expect(changes.slice(3)).toEqual([null, ['bob']])
  })
  test.each<[string, () => void, string]>([
    ['records nothing', () => (recorded = { adminEventsEnabled: false }), 'records no events'],
    ['forbids', () => (instead = () => new Response('', { status: 403 })), '403'],
    ['answers html', () => (instead = () => new Response('<html>', { status: 200 })), 'text/plain'],
    [
      'answers no list',
      () => (instead = () => Response.json({ adminEventsEnabled: true })),
      'no list',
    ],
  ])('that %s fails and says so', async (_, breaks, message) => {
    breaks()
    await expect(look()).rejects.toThrow(message)
    expect(changes).toEqual([])
  })
  test('after a failure goes on where it was', async () => {
    rows = [row(1_000, 'users/x')]
    await look()
    instead = () => new Response('', { status: 503 })
    await expect(look()).rejects.toThrow('503')
    rows.push(row(20_000, 'users/alice'))
    instead = null
    await look()
    expect(changes).toEqual([null, ['alice']])
  })
})
