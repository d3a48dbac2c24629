import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { readPeople } from '../../proxy/directory/people_file.ts'
import { keyOf } from '../../proxy/directory/source.ts'

const MANY = 6_000
const place = { path: 'people.yaml', realm: 'corp', now: 10_000 }
const read = (text: string) => readPeople(text, place)
const refused = (text: string): Promise<string> =>
  read(text).then(
    () => 'it was read',
    (error: Error) => error.message,
  )
const key = (id: string, realm = 'corp', tenant = 'default') => keyOf({ tenant, realm, id })

const rows = Array.from({ length: MANY }, (_, i) => ({
  id: `person-${i}@example.com`,
  groups: i % 2 === 0 ? ['staff', 'odd: "group"'] : ['staff'],
  ...(i % 3 === 0 ? { realm: 'guests', active: i % 6 === 0 } : {}),
  ...(i % 5 === 0 ? { manager: 'person-1@example.com' } : {}),
  ...(i % 7 === 0 ? { auth: { acr: 'gold', age_s: 1 } } : {}),
}))
const items = rows.map((row) => `- ${JSON.stringify(row)}`)
const block = rows.map(({ id, groups, ...more }) =>
  [
    `  - id: ${id}`,
    '    groups:',
    ...groups.map((group) => `      - '${group}'`),
    '    # who this is',
    '',
    ...Object.entries(more).map(([name, value]) => `    ${name}: ${JSON.stringify(value)}`),
  ].join('\n'),
)
const ways = {
  'JSON alone': JSON.stringify({ people: rows }),
  'JSON with spaces': JSON.stringify({ people: rows }, null, 2),
  'an item of JSON a line': `people:\n${items.join('\n')}\n`,
  'lines of YAML': `# everybody\n\npeople: # a list\n\n${block.join('\n')}\n`,
  'first one, then the other': `people:\n${[...items.slice(0, 3_000), ...block.slice(3_000).map((text) => text.replaceAll(/^ {2}/gm, ''))].join('\n')}`,
  // Its anchor is known to the whole text alone.
  'an alias of what stands far above': `people:\n${[`- {id: first, groups: &all [staff]}`, ...items, '- {id: last, groups: *all}'].join('\n')}`,
}

test('a long file says the same, however it is written, as a short one says of each of its rows', async () => {
  const short = new Map<string, unknown>()
  for (const row of rows)
    for (const [name, facts] of await read(JSON.stringify({ people: [row] })))
      short.set(name, facts)
  for (const [way, text] of Object.entries(ways)) {
    const people = new Map(await read(text))
    if (way.startsWith('an alias'))
      for (const id of ['first', 'last']) {
        expect(people.get(key(id))).toMatchObject({ groups: ['staff'], active: true })
        people.delete(key(id))
      }
    expect(people, way).toEqual(short)
  }
  expect(short.size).toBe(MANY)
  expect([...short.keys()][3]).toBe(key('person-3@example.com', 'guests'))
})

test('what is alike is kept once, and what differs is not', async () => {
  const people = await read(ways['an item of JSON a line'])
  const of = (i: number) => people.get(key(`person-${i}@example.com`))
  expect(of(1)).toBe(of(11))
  expect(of(1)).not.toBe(of(2))
  expect(of(5)).toMatchObject({ manager: 'person-1@example.com', groups: ['staff'], auth: null })
  expect(of(7)).toMatchObject({ auth: { acr: 'gold', amr: [], at: 9_000 } })
  expect(of(1)).not.toHaveProperty('manager')
})

test('others get their turn while a long file is read', async () => {
  for (const way of ['an item of JSON a line', 'lines of YAML'] as const) {
    let turns = 0
    const done = new AbortController()
    const counted = (async () => {
      for (; !done.signal.aborted; turns += 1) await turn()
    })()
    await read(ways[way])
    done.abort()
    await counted
    expect(turns, way).toBeGreaterThan(5)
  }
})

test('what is wrong far below is named by its line or its row, as in a short file', async () => {
  const spoilt = (all: readonly string[], at: number, row: string): string =>
    `people:\n${all.with(at, row).join('\n')}\n`
  expect(await refused(spoilt(items, 4_000, '- {"id": "a", "id": "b"}'))).toMatch(
    /^people\.yaml:4002: a key stands here twice: keep one$/,
  )
  expect(await refused(spoilt(items, 4_000, '- {"id": "a", "grops": []}'))).toBe(
    'people.yaml: people.4000.grops: is no key that deputy knows: is groups meant?',
  )
  expect(await refused(spoilt(items, 4_000, '- {"id": "a", "groups": [1]}'))).toMatch(
    /^people\.yaml: people\.4000\.groups\.0: /,
  )
  expect(await refused(spoilt(items, 4_000, items[3] ?? ''))).toBe(
    'people.yaml: person-3@example.com is listed twice',
  )
  expect(await refused(spoilt(items, 4_000, '- {"id": "a'))).toMatch(
    /^people\.yaml:400\d: something is missing here: a closing quote/,
  )
  expect(await refused(`people:\n${items.join('\n')}\nothers: []\n`)).toMatch(
    /^people\.yaml:6002: /,
  )
  expect(await refused(`people:\n${items.join('\n')}\n---\npeople: []\n`)).toMatch(
    /^people\.yaml:\d+: a second document begins here/,
  )
  expect(await refused(`${ways['JSON alone'].slice(0, -1)},"people":[]}`)).toMatch(
    /^people\.yaml:\d+: a key stands here twice/,
  )
})

test.each([
  [
    'people:\n  - id: alice\n    group: [staff]\n',
    'line 3: people.0.group: is no key that deputy knows: is groups meant?',
  ],
  ['people:\n  - id: alice\n    groups: staff\n', 'line 3: people.0.groups: must be a list'],
  ['people:\n  - groups: [staff]\n', 'line 2: people.0.id: is missing'],
  ['peple: []\n', 'people: is missing'],
  ['', 'must be keys and values'],
])('a short file is told by its line: %j', async (text, sentence) => {
  expect((await refused(text)).split('\n')[0]).toBe(`people.yaml: ${sentence}`)
})
test('a tab is told as one', async () => {
  expect(await refused('people:\n\t- id: a\n')).toBe(
    'people.yaml:2: the line is indented with a tab: use spaces',
  )
})
