// Credentials in the query of a URL: the provider's own pass when that URL is followed, the agent's never do. On real sockets.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createQuerySeals } from '../../proxy/wire/query_seal.ts'
import { createSealer, parseKeyRing } from '../../proxy/vault/seal.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { AGENT, providersAt, startDeputy } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const HOST = 'https://api.acme.test'
let upstream: Upstream
let deputy: Deputy
/** What the provider answers to the first call. */
let first: {
  readonly status?: number
  readonly headers?: Record<string, string>
  readonly json?: unknown
}

beforeAll(async () => {
  upstream = await startUpstream()
  const client = { client_id: 'deputy', client_secret: 'client-secret-0123456789', scopes: [] }
  const held = ['alice', 'bob'].flatMap((person) =>
    ['acme', 'second'].map((connection) => {
      const token = `at-${person}-${connection}-0123456789abcdef`
      upstream.people.set(token, `${person} by ${connection}`)
      return { person, connection, token }
    }),
  )
  const [acme, ...others] = providersAt(upstream.origin)
  const sealed = {
    id: 'acme.sealed',
    method: 'GET',
    path: '/first/sealed',
    access: 'read',
    scopes: [[]],
    signed: ['/upload_url', '/load_url', '/other'],
    rewrite: ['/upload_url'],
  }
  const rows = Array.isArray(acme?.['operations']) ? acme['operations'] : []
  const operations = [
    sealed,
    ...rows.filter(({ id }: { readonly id: string }) => id !== 'acme.put'),
  ]
  deputy = await startDeputy({
    upstream: upstream.origin,
    held,
    config: {
      providers: [
        { ...acme, rewrite: ['/next', '/items/*/url', '/**/*_url'], operations },
        ...others,
      ],
      connections: Object.fromEntries(
        ['acme', 'second'].map((name) => [name, { provider: 'acme', ...client }]),
      ),
    },
  })
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})
beforeEach(() => {
  upstream.seen.length = 0
  upstream.handle = ({ url, who }, res) => {
    if (url.startsWith('/first')) {
      const { status = 200, headers = {}, json = {} } = first
      const body = status === 204 ? '' : JSON.stringify(json)
      res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body)
    } else
      res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ who, url }))
  }
})

const send = (url: string, person = 'alice', init: RequestInit = {}): Promise<Response> =>
  fetch(url, { redirect: 'manual', ...init, headers: { 'deputy-user': person } })
const start = (query = '', init: RequestInit = {}): Promise<Response> =>
  send(`${deputy.agent}/acme@api.acme.test/first${query}`, 'alice', init)
/** What the provider sees of that call. */
const follow = async (url: string, person = 'alice', method = 'GET') => {
  upstream.seen.length = 0
  await (await send(url, person, { method })).text()
  const decided = deputy.evidence().findLast(({ event }) => event === 'decision')
  return [upstream.seen[0]?.who ?? null, upstream.seen[0]?.url ?? null, decided?.stripped]
}
const located = async (location: string, query = '', init: RequestInit = {}): Promise<string> => {
  first = { status: 302, headers: { location } }
  return (await start(query, init)).headers.get('location') ?? ''
}
const linked = async (link: string): Promise<string> => {
  first = { headers: { link } }
  return /<([^>]*)>/.exec((await start()).headers.get('link') ?? '')?.[1] ?? ''
}
const named = async (json: unknown): Promise<Record<string, unknown>> => {
  first = { json }
  return (await (await start()).json()) as Record<string, unknown>
}

describe('what the provider signed into a URL of its own comes back whole', () => {
  test.each(['token=t1', 'key=k', 'sid=s&auth=a', 'sig=s&page=2', 'X-Amz-Signature=1&a=%2f'])(
    'in a redirect to ?%s',
    async (query) => {
      const to = await located(`${HOST}/f?${query}#part`)
      expect(new URL(to).pathname).toBe('/acme@api.acme.test/f')
      expect(await follow(to)).toEqual(['alice by acme', `/f?${query}`, []])
    },
  )
  test('in a redirect to a path alone, after a POST, and in Content-Location', async () => {
    const to = await located('/f?token=t1', '', { method: 'POST' })
    expect(await follow(to)).toEqual(['alice by acme', '/f?token=t1', []])
    first = { headers: { 'content-location': `${HOST}/f?token=t2` } }
    const at = (await start()).headers.get('content-location') ?? ''
    expect(await follow(at)).toEqual(['alice by acme', '/f?token=t2', []])
  })
  test('in a Link, page after page', async () => {
    let to = await linked(`<${HOST}/first?sid=s1&page=2>; rel=next`)
    expect(await follow(to)).toEqual(['alice by acme', '/first?sid=s1&page=2', []])
    first = { headers: { link: '</first?sid=s1&page=3>; rel="next"' } }
    to = /<([^>]*)>/.exec((await send(to)).headers.get('link') ?? '')?.[1] ?? ''
    expect(await follow(to)).toEqual(['alice by acme', '/first?sid=s1&page=3', []])
  })
  test('in a field that the definition names, also on another host of the provider', async () => {
    const { next, items } = (await named({
      next: `${HOST}/f?token=t1`,
      items: [{ url: 'https://up.acme.test/g?key=k1' }],
    })) as { readonly next: string; readonly items: readonly { readonly url: string }[] }
    expect(await follow(next)).toEqual(['alice by acme', '/f?token=t1', []])
    expect(await follow(items[0]?.url ?? '')).toEqual(['alice by acme', '/g?key=k1', []])
  })
  test('also by a seal of another replica with the same keys', async () => {
    expect(await follow(made(0))).toEqual(['alice by acme', '/f?token=t1', []])
  })
})

/** As another deputy of the fleet would have sealed it, so many ms ago. */
const made = (ago: number): string => {
  const ring = createSealer(parseKeyRing(readFileSync(join(deputy.dir, 'keys.json'), 'utf8')))
  const key = Buffer.from(ring.hmac('query', 'seal'), 'base64url')
  const seals = createQuerySeals({ key, now: () => Date.now() - ago })
  const acme = providersAt(upstream.origin)[0]
  const provider = compileProviders(new Map([['acme.yaml', acme]])).providers.get('acme')
  if (provider === undefined) throw new Error('the definition does not hold')
  const person = { tenant: 'default', realm: 'local', id: 'alice' }
  const bound = { person, agent: AGENT, connection: 'acme', host: 'api.acme.test' }
  const seal = seals.seal(bound, '/f?token=t1', provider, () => [])
  return `${deputy.agent}/acme@api.acme.test/f?token=t1&${seal ?? ''}`
}

const CUT = ['query:token']
describe('what the agent put there is cut', () => {
  test('its own token on the same path, with no seal or one made up', async () => {
    const to = await located(`${HOST}/f?token=t1`)
    expect(await follow(`${deputy.agent}/acme@api.acme.test/f?token=mine`)).toEqual([
      'alice by acme',
      '/f',
      CUT,
    ])
    expect(await follow(to.replace('t1', 'mine'))).toEqual(['alice by acme', '/f', CUT])
    expect(await follow(`${to}&token=mine`)).toEqual(['alice by acme', '/f', CUT])
    const twice = to.replace('token=t1', 'token=mine&token=t1')
    expect(await follow(twice)).toEqual(['alice by acme', '/f', CUT])
    expect(await follow(to.replace(/deputy_seal=.*/, 'deputy_seal=x'))).toEqual([
      'alice by acme',
      '/f',
      CUT,
    ])
  })
  test('a seal that was moved to another path, person, connection, method or query', async () => {
    const to = await located(`${HOST}/f?token=t1`)
    expect(await follow(to.replace('/f?', '/g?'))).toEqual(['alice by acme', '/g', CUT])
    expect(await follow(to, 'bob')).toEqual(['bob by acme', '/f', CUT])
    expect(await follow(to.replace('acme@', 'second@'))).toEqual(['alice by second', '/f', CUT])
    expect(await follow(to.replace('@api.', '@up.'))).toEqual(['alice by acme', '/f', CUT])
    for (const method of ['POST', 'DELETE', 'PATCH'])
      expect(await follow(to, 'alice', method)).toEqual(['alice by acme', '/f', CUT])
    expect(await follow(to.replace('?', '?to=mallory&'))).toEqual([
      'alice by acme',
      '/f?to=mallory',
      CUT,
    ])
  })
  test('a seal that is over', async () => {
    expect(await follow(made(10 * 60_000 - 60_000))).toEqual(['alice by acme', '/f?token=t1', []])
    expect(await follow(made(10 * 60_000))).toEqual(['alice by acme', '/f', CUT])
  })
  test.each([
    ['in the query', '?to=/f%3Ftoken%3Dmine', {}],
    ['escaped twice', '?to=/f%253Ftoken%253D%256Dine', {}],
    ['in the body', '', { method: 'POST', body: '{"to":"/f?token=\\u006dine"}' }],
  ])('a redirect to where the agent said, %s', async (_where, query, init) => {
    const to = await located(`${HOST}/f?token=mine`, query, init)
    expect(to).not.toContain('deputy_seal')
    expect(await follow(to)).toEqual(['alice by acme', '/f', CUT])
  })
  test('in an upload that streams by, whatever it said', async () => {
    const body = Buffer.alloc(2_000_000, 'mine')
    upstream.handle = (_seen, res) =>
      void res.writeHead(201, { location: `${HOST}/f?token=mine` }).end()
    const answer = await fetch(`${deputy.agent}/acme@api.acme.test/upload/x`, {
      method: 'POST',
      body,
      headers: { 'deputy-user': 'alice', 'content-type': 'application/octet-stream' },
    })
    expect(answer.headers.get('location')).toMatch(/\/f\?token=mine$/)
  })
  test.each(['access_token=x', 'teamid=1', 'api_key=x', 'token=t1&bearer_token=x', 'sudo=bob'])(
    'a credential of a person, wherever it stands: %s',
    async (query) => {
      expect(await located(`${HOST}/f?${query}`)).toBe(
        `${deputy.agent}/acme@api.acme.test/f?${query}`,
      )
    },
  )
  test('what users may have written, and a pointer finds by its ending', async () => {
    const { home_url: to } = await named({ home_url: `${HOST}/f?token=t1` })
    expect(to).toBe(`${deputy.agent}/acme@api.acme.test/f?token=t1`)
    expect(await follow(String(to))).toEqual(['alice by acme', '/f', CUT])
  })
})

describe('an address that clients follow without a key', () => {
  const bare = async (url: unknown, method: string) => {
    upstream.seen.length = 0
    const answer = await fetch(String(url), { method })
    await answer.text()
    return [answer.headers.get('deputy-answer'), upstream.seen[0]?.who, upstream.seen[0]?.url]
  }
  const sealed = async (url: string): Promise<Record<string, unknown>> => {
    first = {
      json: { upload_url: url, load_url: `${HOST}/only/loaded`, other: 'https://evil.test/' },
    }
    return (await (await start('/sealed')).json()) as Record<string, unknown>
  }

  test('is sealed also where it stands among the URLs to rewrite', async () => {
    const { upload_url: to, other } = await sealed(`${HOST}/upload/x?token=t1`)
    expect(to).toMatch(/\/~dps_[\w-]+\/acme@api\.acme\.test\/upload\/x\?token=t1$/)
    expect(other).toBe('https://evil.test/')
    expect(await bare(to, 'POST')).toEqual([null, 'alice by acme', '/upload/x?token=t1'])
  })

  test('is for the methods that the catalogue has there, and never deletes', async () => {
    const { upload_url: to } = await sealed(`${HOST}/upload/x?token=t1`)
    for (const method of ['GET', 'HEAD', 'POST'])
      expect([method, await bare(to, method)]).toEqual([
        method,
        [null, 'alice by acme', '/upload/x?token=t1'],
      ])
    // The catalogue has rows for PATCH and DELETE as well, and none for PUT.
    for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS'])
      expect([method, await bare(to, method)]).toEqual([
        method,
        ['unauthenticated', undefined, undefined],
      ])
  })

  test('a download is loaded and nothing else', async () => {
    const { upload_url: to } = await sealed('https://dl.acme.test/f?token=t1')
    expect(await bare(to, 'GET')).toEqual([null, null, '/f?token=t1'])
    expect((await bare(to, 'POST'))[0]).toBe('unauthenticated')
  })

  test('what nobody could follow gets no tag', async () => {
    const { upload_url: to } = await sealed(`${HOST}/a//b?token=t1`)
    expect(to).toBe(`${deputy.agent}/acme@api.acme.test/a//b?token=t1`)
  })
})

test('URLs without credentials, and those of downloads and strangers, are as they were', async () => {
  const urls = {
    [`${HOST}/f?page=2&pageToken=3`]: `${deputy.agent}/acme@api.acme.test/f?page=2&pageToken=3`,
    [`${HOST}/f{?token,x}`]: `${deputy.agent}/acme@api.acme.test/f{?token,x}`,
    'https://dl.acme.test/f?token=1': `${deputy.agent}/acme@dl.acme.test/f?token=1`,
    'https://evil.test/f?token=1': 'https://evil.test/f?token=1',
  }
  for (const [url, to] of Object.entries(urls)) {
    expect(await located(url)).toBe(to)
    expect(await named({ next: url })).toEqual({ next: to })
  }
})
