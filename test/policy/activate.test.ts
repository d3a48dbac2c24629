import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Log, PolicyDecision, PolicyFailure } from '../../proxy/model.ts'
import { readBundle } from '../../proxy/policy/bundle.ts'
import type { Bundle } from '../../proxy/policy/bundle.ts'
import { activate } from '../../proxy/policy/activate.ts'
import type { ActivateDeps } from '../../proxy/policy/activate.ts'
import type { Tables } from '../../proxy/policy/make.ts'
import { paced } from '../support/pace.ts'

const said: string[] = []
const note = (_fields: object, msg: string): void => {
  said.push(msg)
}
const log: Log = { debug: note, info: note, warn: note, error: note }
const clock = { now: () => Date.now(), mono: () => performance.now() }
const deps: ActivateDeps = { log, clock }
const none = new Map<string, never>()

const load = (path: string): Promise<Bundle> =>
  readBundle(readFileSync(new URL(path, import.meta.url)))
const fixture = (name: string): Promise<Bundle> => load(`../fixtures/policies/${name}.tar.gz`)
const shipped = (): Promise<Bundle> => load('../../policies/bundle.tar.gz')
const golden = (name: string): string => {
  const text = readFileSync(new URL(`../golden/${name}.json`, import.meta.url), 'utf8')
  return JSON.stringify((JSON.parse(text) as { input: unknown }).input)
}
const failed = (answer: PolicyDecision | PolicyFailure): string =>
  'failed' in answer ? answer.failed : `allow: ${String(answer.allow)}`

describe('activation refuses a policy', () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['that never decides', 'mute', /the empty input gave policy_undefined/],
    ['that allows the empty input', 'open', /the empty input gave allow/],
    ['that calls the host', 'foreign', /time\.now_ns/],
    ['that contradicts its own probe', 'wrong_probe', /"alice may" gave deny \["no_grant"\]/],
    ['that never ends, within seconds', 'loops', /policy_timeout/],
  ]
  test.each(cases)('%s', async (_name, name, message) => {
    await expect(activate(await fixture(name), none, deps)).rejects.toThrow(message)
  })

  test('whose module is not WebAssembly, or WebAssembly of somebody else', async () => {
    const bundle = await fixture('odd')
    const other = (bytes: readonly number[]): Bundle => ({ ...bundle, wasm: new Uint8Array(bytes) })
    await expect(activate(other([1, 2, 3]), none, deps)).rejects.toThrow(/cannot be compiled/)
    await expect(activate(other([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]), none, deps)).rejects.toThrow(
      /ABI 1\.2/,
    )
  })
})

describe('a decision counts only in the promised shape', async () => {
  const engine = await activate(await fixture('odd'), none, deps)
  const ask = async (odd: string): Promise<PolicyDecision | PolicyFailure> =>
    engine.evaluate(JSON.stringify({ case: odd }))

  test('and then it is frozen, to the ground', async () => {
    const answer = await ask('allow')
    expect(answer).toMatchObject({ allow: true, grants: [] })
    if ('failed' in answer) throw new Error(answer.detail)
    expect(Object.isFrozen(answer) && Object.isFrozen(answer.obligations)).toBe(true)
    expect(() => (answer.reasons as unknown[]).push({})).toThrow(TypeError)
  })

  test.each([
    'allow with reasons',
    'allow is text',
    'allow is one',
    'obligations missing',
    'extra field',
    'obligation is text',
    'version 2',
    'age is text',
    'reason is text',
    'grants are objects',
    'list',
  ])('%s: policy_malformed', async (odd) => {
    expect(failed(await ask(odd))).toBe('policy_malformed')
  })

  test('no decision is policy_undefined, a conflict and a lack of memory are policy_error', async () => {
    expect(failed(await ask('undefined'))).toBe('policy_undefined')
    expect(failed(await ask('conflict'))).toBe('policy_error')
    expect(failed(await ask('memory'))).toMatch('policy_error')
  })

  test('and the engine answers rightly after each of those', async () => {
    // A fresh instance, or a thread, is made beside.
    await expect.poll(async () => failed(await ask('allow'))).toBe('allow: true')
    await expect.poll(async () => failed(await engine.evaluate('{}'))).toBe('allow: false')
  })
})

describe('an input', async () => {
  const engine = await activate(await shipped(), none, deps)
  const allowed = golden('read-allowed')

  test('that is allowed is allowed', async () => {
    expect(failed(await engine.evaluate(allowed))).toBe('allow: true')
  })

  test('that is not JSON is never evaluated as no input', async () => {
    const bad = [
      '',
      'null',
      '7',
      '[]',
      '"x"',
      '{',
      '{"version":1',
      "{'a':1}",
      '{"a":1,}',
      '{"a":"\n"}',
      `${allowed}x`,
    ]
    for (const text of bad)
      expect([text.slice(0, 20), failed(await engine.evaluate(text))]).toEqual([
        text.slice(0, 20),
        'policy_error',
      ])
  })

  test('with half a character is refused, escaped or raw', async () => {
    const half = JSON.parse(allowed) as { request: { segments: string[] } }
    half.request.segments[1] = 'a\ud800'
    expect(failed(await engine.evaluate(JSON.stringify(half)))).toBe('policy_error')
    expect(failed(await engine.evaluate(allowed.replace('acme', 'a\ud800')))).toBe('policy_error')
    expect(failed(await engine.evaluate(allowed.replace('acme', '例\u{1f600}')))).toBe(
      'allow: true',
    )
  })

  test('is measured in bytes, and one byte over the limit is too large', async () => {
    const small = await activate(await shipped(), none, { ...deps, inputLimit: 2000 })
    const sized = (bytes: number, letter: string): string => {
      const width = Buffer.byteLength(letter)
      const room = bytes - Buffer.byteLength(allowed)
      const pad = letter.repeat(Math.floor(room / width)) + 'x'.repeat(room % width)
      return allowed.replace('"golden"', `"golden${pad}"`)
    }
    for (const letter of ['x', '例']) {
      expect(failed(await small.evaluate(sized(2000, letter)))).toBe('allow: true')
      expect(failed(await small.evaluate(sized(2001, letter)))).toBe('policy_input_too_large')
    }
    expect(failed(await small.evaluate(allowed))).toBe('allow: true')
    await small.close()
  })

  test('so deep that the module traps is refused, and the next call is served by a fresh instance', async () => {
    const deep = `{"a":${'['.repeat(15_000)}${']'.repeat(15_000)}}`
    expect(failed(await engine.evaluate(deep))).toBe('policy_error')
    expect(failed(await engine.evaluate(allowed))).toBe('allow: true')
  })

  test('gets the same answer a thousand times, with other answers between', async () => {
    const denied = golden('write-by-staff')
    for (let i = 0; i < 1000; i++) {
      expect(failed(await engine.evaluate(allowed))).toBe('allow: true')
      expect(failed(await engine.evaluate(denied))).toBe('allow: false')
    }
  })
})

describe('tables', () => {
  test('of the operator replace whole tables of the bundle, and the digest tells', async () => {
    const bundle = await shipped()
    const plain = await activate(bundle, none, deps)
    const swapped = await activate(
      bundle,
      new Map([['group_roles', { visitors: ['reader'] }]]),
      deps,
    )
    expect(failed(await swapped.evaluate(golden('read-by-visitor')))).toBe('allow: true')
    expect(failed(await swapped.evaluate(golden('read-allowed')))).toBe('allow: false')
    expect(swapped.digest).not.toBe(plain.digest)
    expect(swapped.revision).toBe(plain.revision)
  })

  test('may bring probes of their own, which must hold', async () => {
    const probes = {
      'nobody reads': { input: JSON.parse(golden('read-allowed')) as never, allow: false },
    }
    const bundle = await shipped()
    await expect(activate(bundle, new Map([['probes', probes]]), deps)).rejects.toThrow(
      /"nobody reads" gave allow/,
    )
    const roles = new Map<string, object>([
      ['probes', probes],
      ['group_roles', {}],
    ])
    await activate(bundle, roles as never, deps)
  })

  test('of 20,000 rows cost an evaluation nothing', async () => {
    const bundle = await shipped()
    const data = bundle.data['deputy_data'] as { grants: { github: Record<string, object> } }
    const row = data.grants.github['gh-read']
    const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`row-${i}`, row]))
    const grants = { github: { ...data.grants.github, ...many } }
    const time = async (tables: never): Promise<number> => {
      const engine = await activate(bundle, tables, deps)
      const text = golden('read-allowed')
      let best = Infinity
      for (let i = 0; i < 60; i++) {
        const started = performance.now()
        for (let j = 0; j < 100; j++) void engine.evaluate(text)
        best = Math.min(best, performance.now() - started)
      }
      return best
    }
    expect(await time(new Map([['grants', grants]]) as never)).toBeLessThan(
      2 * (await time(none as never)),
    )
  })
})

describe('a table of ceilings', () => {
  const agents = (table: Tables): Tables => new Map([...table, ['agents', { one: [{}] }]])
  test('that the Rego never reads does not serve, though rows have agents too', async () => {
    const bundle = await fixture('boundless')
    const grants: Tables = new Map([['grants', { a: { r: { operations: ['*'] } } }]])
    await (await activate(bundle, grants, deps)).close()
    await expect(activate(bundle, agents(grants), deps)).rejects.toThrow(
      'the policy of this bundle never reads the table agents',
    )
  })
  test('serves where it does, also where that policy has tables of its own', async () => {
    await (await activate(await shipped(), agents(none), deps)).close()
    // Decides by no tables at all.
    await (await activate(await fixture('odd'), agents(none), deps)).close()
  })
})

describe('members that inputs share', async () => {
  const engine = await activate(await shipped(), none, deps)
  const { user, request, ...rest } = JSON.parse(golden('read-allowed')) as Record<string, object>
  const own = JSON.stringify(rest)
  const asked = async (who: unknown, what: unknown = request): Promise<string> =>
    failed(
      await engine.evaluate(own, [
        ['user', typeof who === 'string' ? who : JSON.stringify(who)],
        ['request', JSON.stringify(what)],
      ]),
    )
  const visitor = { ...user, groups: [], roles: [] }

  test('never answer for each other, also when more came by than are kept', async () => {
    for (let i = 0; i < 3_000; i++) {
      const name = `person ${i} ${'x'.repeat(i % 700)}`
      const pair = await Promise.all([
        asked({ ...user, id: name }),
        asked({ ...visitor, id: name }),
      ])
      expect(pair).toEqual(['allow: true', 'allow: false'])
    }
    expect([await asked(user), await asked(visitor)]).toEqual(['allow: true', 'allow: false'])
  })

  test('may stand where another stood under another name', async () => {
    const same = JSON.stringify({ ...user, ...request })
    const both = [
      ['user', same],
      ['request', same],
    ] as const
    expect(failed(await engine.evaluate(own, both))).toBe('allow: true')
  })

  test('are read like the rest of the input: too long for being kept, broken, not Unicode', async () => {
    const long = { ...user, groups: ['engineering', ...Array(700).fill('another group')] }
    expect(JSON.stringify(long).length).toBeGreaterThan(8_192)
    expect(await asked(long)).toBe('allow: true')
    expect(await asked({ ...long, groups: long.groups.slice(1) })).toBe('allow: false')
    expect(await asked('{"id":')).toBe('policy_error')
    expect(await asked(JSON.stringify(user).replace('"id":"', '"id":"\ud800'))).toBe('policy_error')
    expect(await asked(user)).toBe('allow: true')
  })

  test('count for the size of the input', async () => {
    const small = await activate(await shipped(), none, { ...deps, inputLimit: 2_000 })
    const size = Buffer.byteLength(`${own.slice(0, -1)},"user":${JSON.stringify(user)}}`)
    const sized = async (bytes: number): Promise<string> =>
      failed(
        await small.evaluate(own, [
          ['user', JSON.stringify(user)],
          ['x', JSON.stringify('x'.repeat(bytes - size - ',"x":""'.length))],
        ]),
      )
    expect(await sized(2_000)).not.toBe('policy_input_too_large')
    expect(await sized(2_001)).toBe('policy_input_too_large')
  })
})

describe('a slow policy', () => {
  test('is served from threads, where an endless evaluation ends in policy_timeout and the rest go on', async () => {
    said.length = 0
    const engine = await activate(await fixture('slow'), none, { ...deps, deadline: 300 })
    expect(said).toEqual(['the policy can take longer than 5 ms: it is served from worker threads'])
    const started = performance.now()
    // A call waits a second for a thread, which may take longer to start on a busy machine.
    const served = (input: string) =>
      expect.poll(async () => failed(await engine.evaluate(input))).toBe('allow: false')
    const [first] = await Promise.all([
      engine.evaluate('{"case":"endless"}'),
      served('{}'),
      served('{"version":1}'),
    ])
    expect(failed(first)).toBe('policy_timeout')
    expect(performance.now() - started).toBeLessThan(paced(5000))
    const endless = ['1', '2', '3'].map(async (n) => engine.evaluate(`{"case":"endless","n":${n}}`))
    expect((await Promise.all(endless)).map(failed)).toEqual(Array(3).fill('policy_timeout'))
    await served('{}')
    await engine.close()
    expect(failed(await engine.evaluate('{}'))).toBe('policy_timeout')
  })

  test('serves agents in turn: one that asks much keeps no other waiting', async () => {
    const engine = await activate(await fixture('slow'), none, { ...deps, deadline: 300 })
    const order: string[] = []
    const ask = async (agent: string): Promise<void> => {
      await engine.evaluate('{}', [], agent)
      order.push(agent)
    }
    await Promise.all([...Array.from({ length: 40 }, () => ask('much')), ask('other')])
    expect(order).toHaveLength(41)
    expect(order.indexOf('other')).toBeLessThan(8)
    await engine.close()
  })

  test('that shows it only when it serves moves to threads after one slow call; a thread that was only kept waiting does not count', async () => {
    said.length = 0
    let now = 0
    let step = 0
    let processor = 0
    let busy = 0
    const slowed = { now: () => 0, mono: () => (now += step) }
    const engine = await activate(await fixture('odd'), none, {
      log,
      clock: slowed,
      cpu: () => (processor += busy),
      deadline: 5000,
    })
    const sync = (ms: number, onProcessor = 0): boolean => {
      step = ms
      busy = onProcessor
      return !(engine.evaluate('{}') instanceof Promise)
    }
    expect([sync(6), sync(5), sync(60, 5), sync(1), sync(6, 1)]).toEqual(Array(5).fill(true))
    expect(said).toEqual([])
    expect(sync(6, 6)).toBe(true)
    expect(said).toEqual(['the policy took longer than 5 ms: it moves to worker threads'])
    const answer = engine.evaluate('{"case":"allow"}')
    expect(answer).toBeInstanceOf(Promise)
    expect(failed(await answer)).toBe('allow: true')
    await engine.close()
  })
})
