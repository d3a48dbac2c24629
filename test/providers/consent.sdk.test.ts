// From nothing to a call and back: consent, refresh and revocation with the shipped definitions at emulators of the vendors,
// as a vendor's client sees it. The emulators take any token, so what counts is whom they name, never that they answer.
import { auth, gmail as gmailApi } from '@googleapis/gmail'
import { Client } from '@microsoft/microsoft-graph-client'
import { WebClient } from '@slack/web-api'
import { createEmulator } from 'emulate'
import type { ServiceName } from 'emulate'
import { afterEach, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { CLIENT_SECRET } from '../support/deputy.ts'
import type { Fields } from '../support/deputy.ts'
import { BACKEND, VERIFIER, VERIFIER_KEY } from '../support/house.ts'
import { startVendor } from '../support/vendor.ts'
import type { Vendor } from '../support/vendor.ts'
import { freePort } from '../support/ports.ts'

type Case = {
  readonly provider: Extract<ServiceName, 'google' | 'microsoft' | 'slack'>
  readonly hosts: readonly string[]
  readonly scopes: readonly string[]
  readonly endpoints: (emulator: string) => Fields
  /** Where the emulator takes a person's own revocation; null: it gives no refresh tokens. */
  readonly revoke: string | null
  /** What deputy can tell of its own revocation there. */
  readonly result: string
  readonly rotates: boolean
  /** Whom the vendor names, or what the client threw, as the document that deputy sent. */
  readonly whoami: (vendor: Vendor, person: string) => Promise<unknown>
}

const CASES: readonly Case[] = [
  {
    provider: 'google',
    hosts: ['gmail.googleapis.com', 'www.googleapis.com'],
    scopes: ['https://www.googleapis.com/auth/gmail.modify'],
    endpoints: (at) => ({
      authorize: `${at}/o/oauth2/v2/auth`,
      token: `${at}/oauth2/token`,
      userinfo: `${at}/oauth2/v2/userinfo`,
      revoke: `${at}/oauth2/revoke`,
    }),
    revoke: '/oauth2/revoke',
    result: 'revoked',
    rotates: false,
    whoami: async (vendor, person) => {
      const slot = new auth.OAuth2()
      slot.setCredentials({ access_token: vendor.tag(person) })
      const gmail = gmailApi({ version: 'v1', auth: slot })
      const root = { rootUrl: `${vendor.deputy.agent}/gmail.googleapis.com/` }
      try {
        const { data } = await gmail.users.messages.list({ userId: 'me' }, root)
        const id = data.messages?.[0]?.id ?? ''
        const got = await gmail.users.messages.get({ userId: 'me', id }, root)
        return got.data.payload?.headers?.find(({ name }) => name === 'To')?.value
      } catch (error) {
        return (error as { readonly response: { readonly data: unknown } }).response.data
      }
    },
  },
  {
    provider: 'microsoft',
    hosts: ['graph.microsoft.com'],
    scopes: ['User.Read'],
    endpoints: (at) => ({
      authorize: `${at}/oauth2/v2.0/authorize`,
      token: `${at}/oauth2/v2.0/token`,
      userinfo: `${at}/oidc/userinfo`,
    }),
    revoke: '/oauth2/v2.0/revoke',
    result: 'not_supported',
    rotates: true,
    whoami: async (vendor, person) => {
      const graph = Client.init({
        baseUrl: `${vendor.deputy.agent}/graph.microsoft.com/`,
        authProvider: (done) => done(null, 'dummy'),
        fetchOptions: { headers: { 'Deputy-User': vendor.tag(person) } },
      })
      try {
        return ((await graph.api('/me').get()) as { readonly mail: string }).mail
      } catch (error) {
        const { code, message } = error as Error & { readonly code: string }
        return { code, url: /http:\S+/.exec(message)?.[0] }
      }
    },
  },
  {
    provider: 'slack',
    hosts: ['slack.com'],
    scopes: ['users:read'],
    endpoints: (at) => ({
      authorize: `${at}/oauth/v2/authorize`,
      token: `${at}/api/oauth.v2.access`,
      revoke: `${at}/api/auth.revoke`,
    }),
    revoke: null,
    result: 'failed',
    rotates: false,
    whoami: async (vendor, person) => {
      const slack = new WebClient(vendor.tag(person), {
        slackApiUrl: `${vendor.deputy.agent}/slack.com/api/`,
        retryConfig: { retries: 0 },
      })
      try {
        const { user_id: id = '' } = await slack.auth.test()
        return (await slack.users.info({ user: id })).user?.profile?.email
      } catch (error) {
        return (error as { readonly body: unknown }).body
      }
    },
  },
]

const opened: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close()
})

/** Deputy, an emulator, and a wire between them that makes every access token live for a second. */
const start = async (one: Case) => {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const people = ['fallback', 'alice', 'bob'].map((name) => ({ email: `${name}@corp.test` }))
  const oauth_clients = [
    {
      client_id: 'deputy',
      client_secret: CLIENT_SECRET,
      name: 'deputy',
      redirect_uris: [`${url}/callback/${one.provider}`],
    },
  ]
  const messages = people.map(({ email }) => ({
    user_email: email,
    from: 'x@elsewhere.test',
    to: email,
    subject: 's',
    body_text: 't',
  }))
  const emulator = await createEmulator({
    service: one.provider,
    port: 0,
    hostname: '127.0.0.1',
    seed:
      one.provider === 'google'
        ? { google: { users: people, oauth_clients, messages } }
        : one.provider === 'microsoft'
          ? { microsoft: { users: people, oauth_clients } }
          : {
              slack: {
                users: people.map(({ email }) => ({ name: email.split('@')[0] ?? '', email })),
                oauth_apps: oauth_clients,
              },
            },
  })
  opened.push(() => emulator.close())
  const refreshTokens: string[] = []
  const vendor = await startVendor({
    connections: {
      [one.provider]: { provider: one.provider, hosts: one.hosts, scopes: one.scopes },
    },
    held: [],
    listeners: () => ({ connect: `127.0.0.1:${port}` }),
    config: {
      connect: { url, verifier: { url: VERIFIER, key: VERIFIER_KEY } },
      operators: [{ name: 'backend', bearer: BACKEND, may: ['connections', 'revoke'] }],
    },
    override: (upstream) => ({ [one.provider]: one.endpoints(upstream.origin) }),
  })
  opened.push(vendor.close)
  vendor.upstream.handle = async (seen, res) => {
    const { host: _, 'content-length': __, connection: ___, ...headers } = seen.headers
    const answer = await fetch(`${emulator.url}${seen.url}`, {
      method: seen.method,
      headers: headers as Record<string, string>,
      redirect: 'manual',
      ...(seen.body.length === 0 ? {} : { body: new Uint8Array(seen.body) }),
    })
    const text = await answer.text()
    const token = /"refresh_token":"([^"]+)"/.exec(text)?.[1]
    if (token !== undefined) refreshTokens.push(token)
    const location = answer.headers.get('location')
    res.writeHead(answer.status, {
      'content-type': answer.headers.get('content-type') ?? 'text/plain',
      ...(location === null ? {} : { location }),
    })
    res.end(text.replace(/"expires_in":\d+/, '"expires_in":1'))
  }
  /** The person opens the link and chooses an account; the application says who sat at the page. */
  const consent = async (person: string, link: string, account: string): Promise<void> => {
    const browser = createBrowser()
    const atVerifier = (to: URL): boolean => to.href.startsWith('http://127.0.0.1:9/')
    let page = await browser.open(link)
    page = await browser.submit(page, { answer: 'yes' }, { until: atVerifier })
    const form = [...page.text.matchAll(/<form[\s\S]*?<\/form>/g)]
      .map(([text]) => text)
      .find((text) => text.includes(account))
    page = await browser.submit({ ...page, text: form ?? '' }, {}, { until: atVerifier })
    const answer = await fetch(`${url}/v1/auth/confirm_user`, {
      method: 'POST',
      headers: { authorization: `Bearer ${VERIFIER_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        flow_id: new URL(page.url).searchParams.get('flow_id'),
        user_id: person,
        realm: 'corp',
      }),
    })
    expect(await answer.json()).toMatchObject({ auth_id: expect.any(String) })
  }
  return { vendor, url, emulator: emulator.url, consent, refreshTokens }
}

describe.each(CASES)('$provider', (one) => {
  test('a link, a yes, calls as the account that was chosen, through refreshes and revocations', async () => {
    const { vendor, url, emulator, consent, refreshTokens } = await start(one)
    const ask = (person: string) => one.whoami(vendor, person)
    const refused = async (person: string, code: string): Promise<string> => {
      const answer = (await ask(person)) as { readonly code: string; readonly url: string }
      expect(answer).toMatchObject({ code })
      return answer.url
    }
    await refused('carol', 'policy_denied')
    await consent('alice', await refused('alice', 'consent_required'), 'alice@corp.test')
    await consent('bob', await refused('bob', 'consent_required'), 'bob@corp.test')

    // Tokens that run out have done so by now: every answer below needed a new one.
    for (const person of ['alice', 'bob', 'alice']) {
      if (one.revoke !== null) await new Promise((resolve) => setTimeout(resolve, 1_100))
      expect(await ask(person)).toBe(`${person}@corp.test`)
    }
    const sent = vendor.upstream.seen
      .map(({ body }) => new URLSearchParams(body.toString()).get('refresh_token'))
      .filter((token) => token !== null)
    expect(sent.length >= 3).toBe(one.revoke !== null)
    if (one.revoke !== null) {
      expect(new Set(sent).size === sent.length).toBe(one.rotates)
      // alice withdraws at the vendor: her next refresh says so, and the client gets a link again.
      for (const token of refreshTokens)
        await fetch(`${emulator}${one.revoke}`, {
          method: 'POST',
          body: new URLSearchParams({ token }),
        })
      await new Promise((resolve) => setTimeout(resolve, 1_100))
      await consent('alice', await refused('alice', 'reauthorization_required'), 'alice@corp.test')
      expect(await ask('alice')).toBe('alice@corp.test')
    }

    // An operator ends it: nothing of hers is left here, and at the vendor what can be ended is.
    const ended = await fetch(`${url}/v1/admin/users/alice/connections?realm=corp`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${BACKEND}` },
    })
    expect(await ended.json()).toMatchObject({ results: [{ result: one.result }] })
    await refused('alice', 'consent_required')
  })
})
