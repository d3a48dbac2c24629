import { expect, test } from 'vitest'
import type { Json, JsonObject } from '../../proxy/model.ts'
import { wholeTables } from '../../proxy/policy/whole.ts'

const whole = (tables: Record<string, Json>): Record<string, Json> =>
  Object.fromEntries(wholeTables(new Map(Object.entries(tables))))

test('a row of one key is whole, and what it says stays', () => {
  const { grants } = whole({ grants: { github: { r: { operations: ['issues.*'] } } } }) as {
    grants: { github: { r: JsonObject } }
  }
  expect(grants.github.r).toEqual({
    kinds: ['rest', 'graphql', 'mcp', 'asset'],
    access: ['read'],
    operations: ['issues.*'],
    path: ['**'],
    agents: ['*'],
    entitlement: '*',
    scopes: [],
    max_entitlement_age_s: 60,
    obligations: {},
    step_up: {},
    approval: {},
    checks: [],
    when: [],
    arguments: [],
    max_body_bytes: null,
    mail: {},
    history: [],
  })
  expect(whole({ grants: { github: { r: grants.github.r } } })['grants']).toEqual(grants)
})

test('a window is every day of UTC unless it says less, and a history is of the row’s own provider', () => {
  const rule = { by: 'run', operations: ['*'], within_s: 60, at_most: 0 }
  const row = { operations: ['*'], when: [{ from: '22:00' }], history: [rule] }
  expect(whole({ grants: { github: { r: row } } })['grants']).toMatchObject({
    github: {
      r: {
        when: [
          {
            zone: 'UTC',
            days: expect.arrayContaining(['mon', 'sun']) as string[],
            from: '22:00',
            to: '24:00',
          },
        ],
        history: [{ ...rule, provider: 'github' }],
      },
    },
  })
})

test('a row that names its roles has no others; role_grants speaks of the rest, and loses rows that there are not', () => {
  const tables = {
    grants: {
      github: { a: { operations: ['*'], roles: ['intern', 'dev'] }, b: { operations: ['*'] } },
    },
    role_grants: {
      github: { dev: ['b', 'gone'], more: ['a'], old: ['gone'] },
      google: { dev: ['x'] },
    },
  }
  expect(whole(tables)['role_grants']).toEqual({ github: { dev: ['b', 'a'], intern: ['a'] } })
  expect(JSON.stringify(whole(tables)['grants'])).not.toContain('roles')
  const none = { ...tables, grants: { github: { a: { operations: ['*'], roles: [] } } } }
  expect(whole(none)['role_grants']).toEqual({})
  const { role_grants: _, ...alone } = tables
  expect(whole(alone)['role_grants']).toEqual({ github: { intern: ['a'], dev: ['a'] } })
})

test('a ceiling is as wide as it does not say', () => {
  expect(whole({ agents: { triage: [{ access: ['read'] }], none: [] } })).toEqual({
    agents: { triage: [{ connections: ['*'], operations: ['*'], access: ['read'] }], none: [] },
  })
})

test('what is no row stays as it is, names of JavaScript are names, and absent tables stay away', () => {
  expect(whole({})).toEqual({})
  expect(whole({ grants: { github: 7, google: { r: null } } })['grants']).toEqual({
    github: 7,
    google: { r: null },
  })
  const odd = JSON.parse(
    '{"grants":{"__proto__":{"constructor":{"roles":["__proto__"]}}}}',
  ) as Record<string, Json>
  expect(JSON.stringify(whole(odd)['role_grants'])).toBe(
    '{"__proto__":{"__proto__":["constructor"]}}',
  )
})
