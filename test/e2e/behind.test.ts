// The pages behind a reverse proxy, below a path of a host that they share: a whole consent through it.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createProxyServer } from 'http-proxy-3'
import { afterEach, expect, test } from 'vitest'
import { startAuthServer } from '../support/authserver.ts'
import { createBrowser } from '../support/browser.ts'
import { clickThrough } from '../support/click.ts'
import { startDeputy, type Fields } from '../support/deputy.ts'
import { freePort } from '../support/ports.ts'
import { startUpstream } from '../support/upstream.ts'

const PATH = '/apps/deputy'
const SECRET = 'canary-client-of-behind-000000000000000'
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

/** A proxy on `localhost` that leaves the path in requests, or cuts it; `asked` is what it was asked for. */
const startProxy = async (cut: boolean) => {
  let target = ''
  const asked: string[] = []
  const proxy = createProxyServer({ xfwd: true, changeOrigin: true })
  const server = createServer((req, res) => {
    asked.push(req.url ?? '')
    if (req.url?.startsWith(PATH) === true) {
      if (cut) req.url = req.url.slice(PATH.length)
      proxy.web(req, res, { target })
    } else res.writeHead(404).end('of another application')
  })
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve))
  ends.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://localhost:${port}${PATH}`,
    asked,
    to: (origin: string) => (target = origin),
  }
}

const begin = async (cut: boolean, trusted: readonly string[]) => {
  const proxy = await startProxy(cut)
  const upstream = await startUpstream()
  ends.push(upstream.close)
  const idp = await startAuthServer({
    clientId: 'deputy',
    clientSecret: SECRET,
    redirectUris: [`${proxy.url}/callback/acme`],
    scopes: ['repo'],
    accounts: { 'alice-acme': {} },
  })
  ends.push(idp.close)
  const { authorize, token, userinfo, revoke } = idp.endpoints
  const acme: Fields = {
    id: 'acme',
    issuer: idp.issuer,
    authorize,
    token,
    userinfo,
    revoke,
    client_auth: 'client_secret_post',
    account: { from: 'userinfo', id: '/sub' },
    authorize_params: { prompt: 'consent' },
    hosts: { 'api.acme.test': upstream.origin },
    operations: [
      {
        id: 'acme.get',
        method: 'GET',
        path: '/{rest+}',
        access: 'read',
        scopes: [['openid', 'repo']],
      },
    ],
  }
  const port = await freePort()
  const deputy = await startDeputy({
    upstream: upstream.origin,
    config: {
      listeners: {
        agent: '127.0.0.1:0',
        admin: '127.0.0.1:0',
        connect: `127.0.0.1:${port}`,
        trusted_proxies: trusted,
      },
      connect: { sign_in: 'local', url: proxy.url },
      providers: [acme],
      connections: {
        acme: {
          provider: 'acme',
          client_id: 'deputy',
          client_secret: SECRET,
          scopes: ['openid', 'repo'],
        },
      },
    },
  })
  ends.push(() => deputy.close())
  proxy.to(`http://127.0.0.1:${port}`)
  return { deputy, proxy, direct: `http://127.0.0.1:${port}` }
}

test.each([
  ['leaves the path', false],
  ['cuts the path', true],
])('a proxy that %s: links, pages, assets, forms, cookies and the callback', async (_how, cut) => {
  const { deputy, proxy } = await begin(cut, ['127.0.0.1', '::1'])
  const answer = await fetch(`${deputy.agent}/api.acme.test/a`, {
    headers: { 'deputy-user': 'alice' },
  })
  const { url } = (await answer.json()) as { url: string }
  expect(url.startsWith(`${proxy.url}/connect/`)).toBe(true)
  const browser = createBrowser()
  const door = await browser.open(url)
  const style = /<link rel="stylesheet" href="([^"]+)"/.exec(door.text)?.[1] ?? ''
  expect(style).toBe(`${PATH}/style.css`)
  expect((await browser.open(new URL(style, url))).headers.get('content-type')).toContain(
    'text/css',
  )
  const code = /sign-in code for \S+: (\S+)/.exec(deputy.logged())?.[1] ?? ''
  await browser.submit(door, { code })
  const end = await clickThrough(browser, url, { login: 'alice-acme', account: 'alice-acme' })
  expect(end.status, end.text + deputy.logged().slice(-1500)).toBe(200)
  expect(end.url).toBe(`${proxy.url}/result`)
  for (const visit of browser.seen)
    for (const cookie of visit.headers.getSetCookie())
      if (cookie.startsWith('deputy-')) expect(cookie).toContain(`; Path=${PATH};`)
  expect((await browser.open(`${proxy.url}/connections`)).text).toContain('alice-acme')
  expect(proxy.asked.filter((path) => !path.startsWith(PATH))).toEqual([])
})

test('from where a person comes is believed of a trusted proxy, and of nobody else', async () => {
  const opened = async (trusted: readonly string[]) => {
    const { deputy, direct } = await begin(true, trusted)
    const answer = await fetch(`${deputy.agent}/api.acme.test/a`, {
      headers: { 'deputy-user': 'alice' },
    })
    const { url } = (await answer.json()) as { url: string }
    const browser = createBrowser()
    const code = /sign-in code for \S+: (\S+)/.exec(deputy.logged())?.[1] ?? ''
    await browser.submit(await browser.open(url), { code }, { until: () => true })
    const cookie = [...browser.cookies.values()]
      .flatMap((mine) => [...mine])
      .map(([k, v]) => `${k}=${v}`)
    const headers = { cookie: cookie.join('; '), 'x-forwarded-for': '198.51.100.9' }
    await fetch(`${direct}${new URL(url).pathname}`, { headers })
    const last = deputy.evidence().findLast(({ event }) => event === 'consent.opened')
    return last?.['from']
  }
  expect(await opened(['127.0.0.1'])).toMatchObject({ address: '198.51.100.9' })
  expect(await opened(['10.0.0.0/8'])).toMatchObject({ address: '127.0.0.1' })
})
