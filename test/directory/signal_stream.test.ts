import { beforeEach, describe, expect, test } from 'vitest'
import {
  createStream,
  type Stream,
  type StreamChange,
} from '../../proxy/directory/signal_stream.ts'
import { EVENT_TYPES } from '../../proxy/directory/signals.ts'

const ISSUER = 'https://idp.test/realms/corp'
const POLL = { method: 'urn:ietf:rfc:8936' }
type Row = Readonly<Record<string, unknown>> & { readonly stream_id: string }
type Asked = { readonly method: string; readonly path: string; readonly body: unknown }

/** A transmitter as SSF 1.0 has it. */
let rows: Row[] = []
let status: Record<string, string> = {}
let asked: Asked[] = []
let answers: (asked: Asked) => Response | null = () => null
let told: StreamChange[] = []
let now = 0
let tokens = 0
const states: string[] = []

const metadata = {
  issuer: ISSUER,
  configuration_endpoint: `${ISSUER}/streams`,
  status_endpoint: `${ISSUER}/status`,
  verification_endpoint: `${ISSUER}/verify`,
}
const row = (id: string, more: object = {}): Row => ({
  stream_id: id,
  iss: ISSUER,
  aud: [`deputy/${id}`],
  delivery: { ...POLL, endpoint_url: `${ISSUER}/poll/${id}` },
  ...more,
})
const transmitter = async (input: string, init: RequestInit): Promise<Response> => {
  const { pathname, search, origin } = new URL(input)
  const body: unknown = typeof init.body === 'string' ? JSON.parse(init.body) : null
  const one = { method: init.method ?? '', path: pathname + search, body }
  asked.push(one)
  const special = answers(one)
  if (special !== null) return special
  if (`${origin}${pathname}` === 'https://idp.test/.well-known/ssf-configuration/realms/corp')
    return Response.json(metadata)
  if (pathname.endsWith('/streams')) {
    if (one.method === 'GET') return Response.json(rows)
    const { delivery, ...rest } = body as { delivery: object }
    const made = row('new', {
      ...rest,
      delivery: { endpoint_url: `${ISSUER}/poll/new`, ...delivery },
    })
    rows.push(made)
    return Response.json(made, { status: 201 })
  }
  if (pathname.endsWith('/status')) {
    if (one.method === 'POST') status = body as Record<string, string>
    return Response.json(status)
  }
  if (pathname.endsWith('/verify')) return new Response(null, { status: 204 })
  return new Response(null, { status: 404 })
}
const open = (push: string | null = null): Stream =>
  createStream({
    issuer: ISSUER,
    push,
    authorization: () => Promise.resolve(`Bearer ${(tokens += 1)}`),
    fetch: transmitter,
    randomState: () => {
      states.push(`state-${states.length}`)
      return states.at(-1) ?? ''
    },
    allowed: (url) => {
      if (!url.startsWith('https:')) throw new Error('no https')
    },
    told: (change) => void told.push(change),
    clock: { mono: () => now },
  })
const look = (stream: Stream): Promise<void> => stream.look(new AbortController().signal)
const posted = (path: string): readonly unknown[] =>
  asked.filter((each) => each.method === 'POST' && each.path.endsWith(path)).map((e) => e.body)

beforeEach(() => {
  rows = []
  status = { status: 'enabled' }
  asked = []
  answers = () => null
  told = []
  now = 0
})

describe('a stream', () => {
  test('that is not there is made, once, for every event that has an effect', async () => {
    const stream = open()
    expect(stream.known()).toBeNull()
    await look(stream)
    await look(stream)
    expect(posted('/streams')).toEqual([
      { delivery: POLL, events_requested: EVENT_TYPES, description: 'deputy' },
    ])
    expect(EVENT_TYPES.length).toBeGreaterThan(10)
    expect(stream.known()).toMatchObject({
      audience: ['deputy/new'],
      poll: `${ISSUER}/poll/new`,
    })
    expect(told).toEqual([{ status: 'made' }])
  })
  test('that is there is taken, by every replica the same; another’s is left alone', async () => {
    rows = [row('c'), row('b'), row('a', { delivery: { method: 'urn:ietf:rfc:8935' } })]
    const stream = open()
    await look(stream)
    expect(stream.known()?.id).toBe('b')
    expect(posted('/streams')).toEqual([])
  })
  test('that is pushed is ours by its address', async () => {
    const delivery = { method: 'urn:ietf:rfc:8935', endpoint_url: 'https://other.test/signals' }
    rows = [row('a', { delivery })]
    const stream = open('https://deputy.test/signals')
    await look(stream)
    expect(stream.known()).toMatchObject({ id: 'new', poll: null })
  })
  test('that went away is told and made anew', async () => {
    const stream = open()
    rows = [row('a')]
    await look(stream)
    rows = []
    await look(stream)
    expect(told).toEqual([{ status: 'gone' }, { status: 'made' }])
    expect(stream.known()?.audience).toEqual(['deputy/new'])
  })
  test.each(['paused', 'disabled'])('that is %s is told once and enabled', async (how) => {
    const stream = open()
    rows = [row('a')]
    status = { status: how, reason: 'maintenance' }
    await look(stream)
    await look(stream)
    expect(told).toEqual([{ status: how, reason: 'maintenance' }])
    expect(posted('/status')).toMatchObject([{ stream_id: 'a', status: 'enabled' }])
  })
  test('that cannot be enabled fails, and is told once', async () => {
    const stream = open()
    rows = [row('a')]
    answers = ({ path }) =>
      path.includes('/status') ? Response.json({ status: 'disabled' }) : null
    await expect(look(stream)).rejects.toThrow('cannot be enabled')
    await expect(look(stream)).rejects.toThrow('cannot be enabled')
    expect(told).toHaveLength(1)
  })
})

describe('verification', () => {
  test('is asked for at once and every ten minutes, and only its own state counts', async () => {
    const stream = open()
    rows = [row('a')]
    await look(stream)
    const state = states.at(-1) ?? ''
    expect(posted('/verify')).toEqual([{ stream_id: 'a', state }])
    expect([stream.heard('another'), stream.heard(null)]).toEqual([false, false])
    expect(stream.heard(state)).toBe(true)
    expect(stream.heard(state)).toBe(false)
    expect(told).toEqual([{ status: 'verified' }])
    now = 599_000
    await look(stream)
    expect(posted('/verify')).toHaveLength(1)
    now = 601_000
    await look(stream)
    expect(posted('/verify')).toHaveLength(2)
  })
  test('that does not come within a minute is a failure, and is asked for again', async () => {
    const stream = open()
    rows = [row('a')]
    await look(stream)
    now = 59_000
    await look(stream)
    now = 61_000
    await expect(look(stream)).rejects.toThrow('none came within a minute')
    expect(posted('/verify')).toHaveLength(2)
    stream.heard(states.at(-1) ?? '')
    await look(stream)
  })
  test('that another replica has just asked for is not asked for twice', async () => {
    const stream = open()
    rows = [row('a')]
    answers = ({ path }) => (path.endsWith('/verify') ? new Response('', { status: 429 }) : null)
    await look(stream)
    now = 120_000
    await look(stream)
  })
  test('that is refused for ever is none', async () => {
    const stream = open()
    rows = [row('a')]
    answers = ({ path }) => (path.endsWith('/verify') ? new Response('', { status: 429 }) : null)
    await look(stream)
    now += 3 * 600_000 + 1
    await expect(look(stream)).rejects.toThrow('asked too often')
  })
})

describe('what does not hold is no stream', () => {
  test.each<[string, (asked: Asked) => Response | null, string]>([
    ['no configuration', () => new Response(null, { status: 404 }), 'no transmitter'],
    [
      'another issuer',
      () => Response.json({ ...metadata, issuer: 'https://x.test' }),
      'another issuer',
    ],
    ['html', () => new Response('<html>', { status: 200 }), 'no JSON'],
    [
      'an address without https',
      ({ path }) =>
        path.startsWith('/.well-known')
          ? Response.json({ ...metadata, configuration_endpoint: 'http://idp.test/streams' })
          : null,
      'no https',
    ],
    [
      'a stream of another issuer',
      ({ path }) =>
        path.endsWith('/streams') ? Response.json([row('a', { iss: 'https://x.test' })]) : null,
      'of another issuer',
    ],
    [
      'no audience',
      ({ path }) => (path.endsWith('/streams') ? Response.json([row('a', { aud: [] })]) : null),
      'no aud',
    ],
    [
      'one stream for each client',
      ({ path, method }) =>
        path.endsWith('/streams') && method === 'POST' ? new Response('{}', { status: 409 }) : null,
      'remove it there',
    ],
    [
      'a token that is refused twice',
      ({ path }) =>
        path.endsWith('/streams') ? Response.json({ error: 'no' }, { status: 401 }) : null,
      'answers 401: no',
    ],
  ])('%s', async (_, how, message) => {
    answers = how
    const stream = open()
    await expect(look(stream)).rejects.toThrow(message)
    expect(stream.known()).toBeNull()
  })
})
