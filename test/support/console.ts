// A whole deputy of two tenants with operators at a real OpenID provider, who use the console as a browser does.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { startAuthServer } from './authserver.ts'
import { createBrowser, type Browser, type Visit } from './browser.ts'
import { prepareFolder, startDeputy, TABLES, type Fields, type Held } from './deputy.ts'
import { AUDIENCE, startIssuer } from './issuer.ts'
import { freePort } from './ports.ts'
import { startUpstream } from './upstream.ts'

/** Who signs in, with the groups that their tokens name. */
export const ACCOUNTS = {
  ada: { groups: ['desk'] },
  vera: { groups: ['watch'] },
  otto: { groups: ['books'] },
  gus: { groups: ['watch', 'glass'] },
  nobody: { groups: ['others'] },
  /** Operators of one tenant alone: `tenants` is a claim of theirs. */
  nina: { groups: ['desk'], tenants: ['north'] },
  sam: { groups: ['desk'], tenants: ['south'] },
} as const
export type Who = keyof typeof ACCOUNTS
const ROLES = {
  desk: ['operator'],
  watch: ['viewer'],
  books: ['auditor'],
  glass: ['break-glass'],
}
/** Whose tokens must be on no page. */
export const tokenOf = (tenant: string, user: string): string =>
  `canary-token-of-${tenant}-${user}-0123456789abcdef`
export const REFRESH = 'canary-refresh-token-0123456789abcdef'
const person = (tenant: string, id: string) => ({ tenant, realm: 'corp', id })

export type ConsoleWorld = Awaited<ReturnType<typeof startConsoleWorld>>

/** @param options.byTenant operators serve the tenants of their claim `tenants` */
export const startConsoleWorld = async (
  options: {
    readonly byTenant?: boolean
    /** `operators_sign_in.console`. */
    readonly console?: boolean
    /** Laid over the configuration; told where every host of the providers is. */
    readonly config?: Fields | ((upstream: string) => Fields)
    readonly held?: readonly Held[]
    readonly idTokenS?: number
    readonly accounts?: Fields
    /** The operators have a listener of their own, and the console is there. */
    readonly apart?: {
      /** The path below which browsers find it. */
      readonly below?: string
      /** `operators_sign_in.url` is not said: the console is with the pages. */
      readonly unsaid?: boolean
    }
    /** `connect.brand`. */
    readonly brand?: Fields
    /** Is told the folder before deputy starts. */
    readonly before?: (dir: string) => void
  } = {},
) => {
  const [upstream, issuer, port, own] = await Promise.all([
    startUpstream(),
    startIssuer(),
    freePort(),
    freePort(),
  ])
  const { apart } = options
  const pages = `http://127.0.0.1:${port}`
  const operators = `http://127.0.0.1:${own}`
  const moved = apart !== undefined && apart.unsaid !== true
  const url = moved ? `${operators}${apart.below ?? ''}` : pages
  const idp = await startAuthServer({
    clientId: 'deputy-ops',
    redirectUris: [`${url}/console/callback`],
    accounts: { ...ACCOUNTS, ...(options.accounts as object) },
    config: {
      clientDefaults: { require_auth_time: true },
      ttl: { IdToken: options.idTokenS ?? 600, Session: 600, Interaction: 600, Grant: 600 },
    },
  })
  const signIn = {
    issuer: idp.issuer,
    client_id: 'deputy-ops',
    ...(options.byTenant === true ? { tenant: '/tenants' } : {}),
    ...(options.console === undefined ? {} : { console: options.console }),
    ...(moved ? { url } : {}),
  }
  const setup = {
    upstream: upstream.origin,
    people: ['north', 'south'].flatMap((tenant) =>
      ['alice', 'bob'].map((id) => ({
        ...person(tenant, id),
        groups: id === 'bob' ? [] : ['staff'],
        roles: ['operator-run'],
      })),
    ),
    tables: { ...TABLES, operator_roles: ROLES },
    held:
      options.held ??
      ['north', 'south'].map((tenant) => ({
        person: person(tenant, 'alice'),
        agent: 'agent-1',
        token: tokenOf(tenant, 'alice'),
        refresh: REFRESH,
      })),
    config: {
      listeners: {
        agent: '127.0.0.1:0',
        admin: '127.0.0.1:0',
        connect: `127.0.0.1:${port}`,
        ...(apart === undefined ? {} : { operators: `127.0.0.1:${own}` }),
      },
      identity: {
        trust: 'asserted',
        issuers: [
          {
            issuer: issuer.url,
            audience: AUDIENCE,
            realm: 'corp',
            tenant: '/tenant',
            tenants: ['north', 'south'],
          },
        ],
      },
      connect: {
        url: pages,
        sign_in: { issuer: issuer.url, client_id: 'pages', tenant: '/tenant', realm: 'corp' },
        ...(options.brand === undefined ? {} : { brand: options.brand }),
      },
      operators_sign_in: signIn,
      ...(typeof options.config === 'function' ? options.config(upstream.origin) : options.config),
    },
  }
  const dir = await prepareFolder(setup)
  for (const tenant of ['north', 'south'])
    upstream.people.set(tokenOf(tenant, 'alice'), `${tenant} alice`)
  options.before?.(dir)
  const deputy = await startDeputy(setup, dir)

  /** Signs in, and goes on to where the browser wanted to go. */
  const enter = async (who: string, path = '/console'): Promise<readonly [Browser, Visit]> => {
    const browser = createBrowser()
    const asked = await browser.open(`${url}${path}`, (next) => next.origin === idp.issuer)
    if (!asked.url.startsWith(idp.issuer)) throw new Error(`no sign-in: ${asked.status}`)
    const back = await idp.consent(asked.url, who)
    return [browser, await browser.open(back)]
  }
  return {
    /** Where the console is. */
    url,
    /** Where people's pages are. */
    pages,
    /** The operators' own listener, where there is one. */
    operators,
    idp,
    deputy,
    upstream,
    enter,
    /** The keys of the ring. */
    secrets: (): readonly string[] =>
      [...readFileSync(join(dir, 'keys.json'), 'utf8').matchAll(/"([\w+/=-]{32,})"/g)].map(
        ([, key = '']) => key,
      ),
    /** One call of an agent for a person. @returns its status */
    call: async (tenant: string, user: string, path = '/api.acme.test/items'): Promise<number> => {
      const tag = await issuer.sign({ sub: user, tenant, act: { sub: 'agent-1' } })
      const answer = await fetch(`${deputy.agent}${path}`, { headers: { 'deputy-user': tag } })
      await answer.text()
      return answer.status
    },
    /** The page, as one form of it is sent. @param which words of the form's button */
    press: async (
      browser: Browser,
      page: Visit,
      which: string,
      fields: Readonly<Record<string, string>> = {},
    ): Promise<Visit> => {
      const forms = page.text.match(/<form\b[\s\S]*?<\/form>/g) ?? []
      const form = forms.find((one) => one.includes(which))
      if (form === undefined) throw new Error(`no form says ${which}: ${page.text}`)
      return browser.submit({ ...page, text: form }, fields)
    },
    close: async (): Promise<void> => {
      await deputy.close()
      issuer.close()
      await idp.close()
      await upstream.close()
    },
  }
}

/** What a stream of events says until `word` comes. Throws where it ends before, or nothing comes for ten seconds. */
export const heardUntil = async (answer: Response, word: string): Promise<string> => {
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader()
  const decoder = new TextDecoder()
  let text = ''
  while (!text.includes(word)) {
    const timer = setTimeout(() => void reader.cancel(), 10_000)
    const { done, value } = await reader.read()
    clearTimeout(timer)
    if (done) throw new Error(`${answer.status}: the stream ended before ${word}: ${text}`)
    text += decoder.decode(value, { stream: true })
  }
  return text
}
