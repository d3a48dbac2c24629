// Around a call's way: whatever is thrown there, or by the answer itself, ends that call only, and is kept.
import { once } from 'node:events'
import { createServer, request, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import type { Decision, Json, Route, Via } from '../../proxy/model.ts'
import {
  createExchange,
  type Call,
  type Seen,
  type Snapshot,
  type Way,
} from '../../proxy/pipeline/exchange.ts'
import { CallerLeft, Problem } from '../../proxy/problem.ts'
import type { Evidence, Finished } from '../../proxy/audit/records.ts'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'
import { provider } from '../wire/fixture.ts'

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

type Kept = { refused: string[]; finished: Finished[]; logged: string[]; seen: Seen[] }
/** A server whose every request goes through an exchange with this way. */
const around = async (
  way: Way,
  more: {
    told?: (call: Call, problem: Problem) => Problem | Promise<Problem>
    snapshot?: () => Snapshot
    observe?: () => void
    via?: Via
  } = {},
) => {
  const kept: Kept = { refused: [], finished: [], logged: [], seen: [] }
  const write = (_fields: object, message: string): void => void kept.logged.push(message)
  const evidence: Evidence = {
    decided: () => Promise.resolve(),
    finished: (what) => void kept.finished.push(what),
    refused: (_id, code) => void kept.refused.push(code),
    event: () => Promise.resolve(),
    close: () => undefined,
  }
  const exchange = createExchange(
    {
      via: more.via ?? 'proxy',
      snapshot: more.snapshot ?? (() => ({}) as Snapshot),
      evidence,
      typeBase: 'http://localhost:1',
      clock: { now: Date.now, mono: () => performance.now() },
      log: { debug: write, info: write, warn: write, error: write },
      observe: more.observe ?? ((seen) => void kept.seen.push(seen)),
    },
    way,
    more.told ?? ((_call, problem) => problem),
  )
  const server = createServer((req, res) => void exchange(req, res, 'one', null))
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const ask = () =>
    fetch(url).then(
      async (answer) => `${answer.status} ${((await answer.json()) as { code: string }).code}`,
      () => 'cut',
    )
  return { ask, kept, url }
}

test('what the way throws is told as a problem, and kept once', async () => {
  const { ask, kept } = await around(() => Promise.reject(new TypeError('a fault')))
  expect(await ask()).toBe('500 internal')
  expect(kept).toMatchObject({ refused: ['internal'], finished: [] })
})

test('a refusal is told in the vendor’s shape to its clients alone, and as a message of MCP to those of a server', async () => {
  const errors = { vendor: '{code}' }
  const way: Way = (call) => {
    call.route = { connection: { provider: { ...provider, errors } } } as unknown as Route
    return Promise.reject(new Problem('policy_denied', 'no'))
  }
  const told = async (given: Way, via?: Via): Promise<unknown> => {
    const { url } = await around(given, via === undefined ? {} : { via })
    return (await fetch(url)).json()
  }
  expect(await told(way)).toHaveProperty('vendor', 'policy_denied')
  expect(await told(way, 'tool')).not.toHaveProperty('vendor')
  const mcp: Way = (call) => {
    call.act = { kind: 'mcp' } as unknown as NonNullable<Call['act']>
    return Promise.reject(new Problem('policy_denied', 'no'))
  }
  expect(await told(mcp)).toMatchObject({ jsonrpc: '2.0', error: { message: 'no.' } })
})

test('an answer that was begun and cannot be written any more ends its connection', async () => {
  // What an unchecked reason phrase did: Node keeps it, and throws at every further try.
  const { ask, kept } = await around((_call, _req, res) => {
    res.statusMessage = 'Non trouv\u6210'
    return Promise.reject(new Problem('upstream_timeout', 'late'))
  })
  expect(await ask()).toBe('cut')
  expect(kept.refused).toEqual(['upstream_timeout'])
  expect(kept.logged).toContain('the last answer could not be given')
})

test('a problem that cannot be written down ends its connection', async () => {
  const extra = { count: 1n as unknown as number }
  const { ask, kept } = await around(() => Promise.reject(new Problem('internal', 'x', { extra })))
  expect(await ask()).toBe('cut')
  expect(kept.refused).toEqual(['internal'])
})

test.each([
  [
    'what makes the snapshot',
    {
      snapshot: () => {
        throw new Error('no snapshot')
      },
    },
    ['internal'],
  ],
  [
    'what words the problem',
    {
      told: () => {
        throw new Error('no words')
      },
    },
    ['internal'],
  ],
  [
    'who observes',
    {
      observe: () => {
        throw new Error('no metrics')
      },
    },
    ['policy_denied'],
  ],
])('a fault of %s is contained, logged and kept', async (_name, more, refused) => {
  const { ask, kept } = await around(() => Promise.reject(new Problem('policy_denied', 'no')), more)
  await ask()
  await expect.poll(() => kept.logged).toContain('a call failed beyond its answer')
  expect(kept.refused).toEqual(refused)
})

test('whoever left in mid-body was not refused', async () => {
  const cause = new CallerLeft(new Error('reset'))
  const gone = new Problem('request_invalid', 'gone', { cause })
  const { ask, kept } = await around(() => Promise.reject(gone))
  await ask()
  expect(kept.refused).toEqual([])
})

test('an allow that came to nothing has its outcome, and is no refusal', async () => {
  const { ask, kept } = await around((call) => {
    call.open = true
    return Promise.reject(new Problem('vault_unavailable', 'x'))
  })
  expect(await ask()).toBe('503 vault_unavailable')
  expect(kept.refused).toEqual([])
  expect(kept.finished.map(({ outcome }) => [outcome.result, outcome.sent])).toEqual([
    ['vault_unavailable', false],
  ])
})

const through = (errors: Json | null): Route => ({
  connection: {
    name: 'acme',
    provider: { ...provider, errors },
    clientId: 'c',
    clientSecret: null,
    scopes: [],
  },
  host: 'api.acme.example',
  origin: 'https://api.acme.example',
  authority: 'api.acme.example',
  port: 443,
  asset: false,
  addressing: { kind: 'absolute' },
  named: null,
  target: canonicalTarget('GET', '/'),
})

test('a call that went well is seen as such, and nothing is refused or logged', async () => {
  const { ask, kept } = await around((_call, _req, res) => {
    res.writeHead(201).end('{"code":"mine"}')
    return Promise.resolve()
  })
  expect(await ask()).toBe('201 mine')
  await expect.poll(() => kept.seen).toMatchObject([{ status: 201, code: null, effect: null }])
  expect(kept).toMatchObject({ refused: [], finished: [], logged: [] })
})

test('what is at fault in deputy, or has a cause, is logged; what was refused is not', async () => {
  const logged = async (problem: Problem) => {
    const { ask, kept } = await around(() => Promise.reject(problem))
    await ask()
    return kept.logged
  }
  expect(await logged(new Problem('internal', 'a fault'))).toEqual(['a fault'])
  const cause = new Error('locked')
  expect(await logged(new Problem('vault_unavailable', 'closed', { cause }))).toEqual(['closed'])
  expect(await logged(new Problem('policy_denied', 'no'))).toEqual([])
})

test('an answer that was begun already stays as it is', async () => {
  const { ask, kept } = await around((_call, _req, res) => {
    res.writeHead(200).write('{"code":')
    setImmediate(() => res.end('"mine"}'))
    return Promise.reject(new Problem('upstream_timeout', 'late'))
  })
  expect(await ask()).toBe('200 mine')
  await expect.poll(() => kept.seen).toMatchObject([{ status: 200, code: 'upstream_timeout' }])
  expect(kept.logged).toEqual([])
})

test('to whoever has gone nothing is answered, and the refusal is kept', async () => {
  const { ask, kept } = await around((_call, _req, res) => {
    res.destroy()
    return Promise.reject(new Problem('upstream_timeout', 'late'))
  })
  expect(await ask()).toBe('cut')
  // The status that a response has before anything was written.
  await expect.poll(() => kept.seen).toMatchObject([{ status: 200, code: 'upstream_timeout' }])
  expect(kept).toMatchObject({ refused: ['upstream_timeout'], logged: [] })
})

test('a connection goes on after a refusal, unless a body is still to come', async () => {
  const { url } = await around(() => Promise.reject(new Problem('policy_denied', 'no')))
  const connectionAfter = async (body: string | null) => {
    const length = body === null ? {} : { 'content-length': body.length + 1 }
    const asked = request(url, {
      method: body === null ? 'GET' : 'POST',
      headers: { connection: 'keep-alive', ...length },
    })
    asked.on('error', () => undefined) // it is cut off below
    if (body === null) asked.end()
    else asked.write(body)
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    asked.destroy()
    return answer.headers.connection
  }
  expect(await connectionAfter(null)).toBe('keep-alive')
  expect(await connectionAfter('half')).toBe('close')
})

test.each([
  [null, 'application/problem+json', undefined],
  [{ error: '{code}' }, 'application/json', 'policy_denied'],
])('a refusal has the shape that its provider’s clients read: %j', async (errors, type, error) => {
  const { url } = await around((call) => {
    call.route = through(errors)
    return Promise.reject(new Problem('policy_denied', 'no'))
  })
  const answer = await fetch(url)
  expect(answer.headers.get('content-type')).toBe(type)
  expect(await answer.json()).toMatchObject({ code: 'policy_denied', ...(error && { error }) })
})

test('a refusal that was decided is in the evidence already', async () => {
  const decision: Decision = {
    id: 'd1',
    effect: 'deny',
    reasons: [{ code: 'after_hours', msg: '' }],
    requiredScopes: [],
    obligations: {},
    grants: [],
    revision: '1',
    digest: '2',
    decidedAt: 0,
  }
  const { ask, kept } = await around((call) => {
    call.decision = decision
    return Promise.reject(new Problem('policy_denied', 'no'))
  })
  expect(await ask()).toBe('403 policy_denied')
  expect(kept.refused).toEqual([])
  expect(kept.seen).toMatchObject([{ effect: 'deny', reason: 'after_hours' }])
})

test('what was found out of a call that failed on its way is its outcome', async () => {
  const outcome = { result: 'upstream_timeout', sent: true, status: null } as Call['outcome']
  const { ask, kept } = await around((call) => {
    call.open = true
    call.outcome = outcome
    return Promise.reject(new Problem('upstream_timeout', 'late'))
  })
  expect(await ask()).toBe('504 upstream_timeout')
  expect(kept.finished).toMatchObject([{ outcome }])
})

test.each([undefined, 'text'])(
  'even %j that is thrown is an answer and an outcome',
  async (thrown) => {
    const { ask, kept } = await around((call) => {
      call.open = true
      const { promise, reject } = Promise.withResolvers<void>()
      reject(thrown)
      return promise
    })
    expect(await ask()).toBe('500 internal')
    expect(kept.finished).toMatchObject([{ outcome: { result: 'internal', sent: false } }])
    expect(kept.logged).not.toContain('a call failed beyond its answer')
  },
)

test('what is told may take its time', async () => {
  const told = (_call: Call, problem: Problem) =>
    Promise.resolve(new Problem('consent_required', problem.message))
  const { ask, kept } = await around(() => Promise.reject(new Problem('internal', 'x')), { told })
  expect(await ask()).toBe('403 consent_required')
  expect(kept.refused).toEqual(['consent_required'])
})
