// A browser without a screen: cookies by host and port (tests run several sites on one address), redirects, forms.

export type Visit = {
  readonly url: string
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** Addresses on the way here, the first one asked for first. */
  readonly hops: readonly string[]
}

export type Browser = {
  /** `until`: stops before an address that it accepts, without opening it. */
  readonly open: (url: string | URL, until?: (url: URL) => boolean) => Promise<Visit>
  /** Sends the only form of a page, with its hidden fields, as a browser on that page would. */
  readonly submit: (
    page: Visit,
    fields?: Readonly<Record<string, string>>,
    options?: {
      readonly until?: (url: URL) => boolean
      readonly headers?: Readonly<Record<string, string>>
    },
  ) => Promise<Visit>
  /** `host:port` → cookies. */
  readonly cookies: ReadonlyMap<string, Map<string, string>>
  /** Everything that a page, header or address showed here. */
  readonly seen: readonly Visit[]
}

/** Where a page goes on to by itself. */
const refresh = (text: string): string | null =>
  /<meta http-equiv="refresh" content="0;url=([^"]*)"/.exec(text)?.[1]?.replaceAll('&amp;', '&') ??
  null

/** Of a tag, as its reader sees it; null: it has none. */
const attribute = (tag: string, name: string): string | null => {
  const written = new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1]
  return (
    written?.replaceAll('&quot;', '"').replaceAll('&#x27;', "'").replaceAll('&amp;', '&') ?? null
  )
}

export const createBrowser = (): Browser => {
  const jar = new Map<string, Map<string, string>>()
  const seen: Visit[] = []

  const keep = (url: URL, response: Response): void => {
    const mine = jar.get(url.host) ?? new Map<string, string>()
    jar.set(url.host, mine)
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '' || /max-age=0(?:;|$)/i.test(line)) mine.delete(name)
      else mine.set(name, value)
    }
  }

  const go = async (
    start: URL,
    first: RequestInit,
    until: (url: URL) => boolean,
  ): Promise<Visit> => {
    const hops: string[] = []
    let url = start
    let init = first
    for (let i = 0; i < 20; i += 1) {
      hops.push(url.href)
      const cookie = [...(jar.get(url.host) ?? [])].map(([k, v]) => `${k}=${v}`).join('; ')
      // A person takes their time: a connection that was kept may just be closing when the next click comes.
      const own = { cookie, connection: 'close' }
      const headers = { ...(init.headers as Record<string, string> | undefined), ...own }
      const response = await fetch(url, { ...init, headers, redirect: 'manual' })
      keep(url, response)
      const text = await response.text()
      const visit: Visit = {
        url: url.href,
        status: response.status,
        headers: response.headers,
        text,
        hops: [...hops],
      }
      seen.push(visit)
      const location = response.headers.get('location') ?? refresh(text)
      if (location === null) return visit
      const next = new URL(location, url)
      if (until(next)) return { ...visit, url: next.href }
      url = next
      init = {}
    }
    throw new Error(`redirects without end at ${url.href}`)
  }

  return {
    cookies: jar,
    seen,
    open: (url, until = () => false) => go(new URL(url), {}, until),
    submit: (page, fields = {}, options = {}) => {
      const form = /<form\b([^>]*)>([\s\S]*?)<\/form>/.exec(page.text)
      if (form === null) throw new Error(`no form at ${page.url}: ${page.status} ${page.text}`)
      const body = new URLSearchParams()
      for (const [input] of (form[2] ?? '').matchAll(/<input[^>]*type="hidden"[^>]*>/g))
        body.set(attribute(input, 'name') ?? '', attribute(input, 'value') ?? '')
      for (const [name, value] of Object.entries(fields)) body.set(name, value)
      // As Chromium does.
      const silent = page.headers.get('referrer-policy') === 'no-referrer'
      const headers = {
        origin: silent ? 'null' : new URL(page.url).origin,
        'sec-fetch-site': 'same-origin',
        'content-type': 'application/x-www-form-urlencoded',
        ...options.headers,
      }
      return go(
        new URL(attribute(form[1] ?? '', 'action') ?? page.url, page.url),
        { method: 'POST', body: body.toString(), headers },
        options.until ?? (() => false),
      )
    },
  }
}
