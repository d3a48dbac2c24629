// Signing in as an operator by the device flow (RFC 8628), and the tokens that later commands use, in a file that is its owner's alone.
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import * as oidc from 'openid-client'
import { z } from 'zod'
import { isLoopback } from '../config/address.ts'
import { hasModes } from '../files.ts'
import { visible } from '../observe/log.ts'
import { messageOf } from '../problem.ts'

const rules = z.object({
  issuer: z.string(),
  client_id: z.string(),
  scope: z.string(),
  audience: z.string().nullable(),
  token: z.enum(['access_token', 'id_token']),
})
type Rules = z.output<typeof rules>
const saved = rules.extend({
  version: z.literal(1),
  /** The one deputy that these tokens are sent to. */
  url: z.string(),
  /** Who it is, for the terminal. */
  name: z.string(),
  bearer: z.string(),
  refresh: z.string().nullable(),
  /** ms */
  expires_at: z.number(),
})
export type Saved = z.output<typeof saved>

/** Asked for anew this long before its end, ms. */
const EARLY_MS = 10_000
/** For one answer, s. */
const TIMEOUT_S = 10
/** Nobody keeps the file to themself as long: whoever did has died. */
const LOCK_MS = 60_000
/** However long a code is said to live. */
const MOST_CODE_S = 3_600

/** Is this where a person may be sent, and a secret may go? */
const safe = (text: string): boolean => {
  const url = URL.parse(text)
  if (url === null || url.username !== '') return false
  return (
    url.protocol === 'https:' ||
    (url.protocol === 'http:' && isLoopback(url.hostname.replace(/^\[|\]$/g, '')))
  )
}

/** null: nobody is signed in. Throws an Error when others could read the file, or when it is none of ours. */
export const savedLogin = (file: string): Saved | null => {
  const found = statSync(file, { throwIfNoEntry: false })
  if (found === undefined) return null
  if (hasModes() && ((found.mode & 0o077) !== 0 || found.uid !== process.getuid?.()))
    throw new Error(
      `${file}: others can read it: it must be yours with mode 0600; remove it, and sign in again by \`deputy login\``,
    )
  try {
    return saved.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch (error) {
    throw new Error(`${file}: is no sign-in of this version: remove it, and sign in again`, {
      cause: error,
    })
  }
}

/** One command at a time: many an issuer ends the whole sign-in when a refresh token comes twice. */
const alone = async <T>(file: string, work: () => Promise<T>): Promise<T> => {
  const lock = `${file}.lock`
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  for (;;) {
    try {
      closeSync(openSync(lock, 'wx', 0o600))
      break
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
      const since = statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()
      if (Math.abs(Date.now() - since) > LOCK_MS) rmSync(lock, { force: true })
      else await pause(50)
    }
  }
  try {
    return await work()
  } finally {
    rmSync(lock, { force: true })
  }
}
const save = (file: string, login: Saved): void => {
  // By a name that nobody can have put there before.
  const partial = `${file}.${randomUUID()}`
  writeFileSync(partial, JSON.stringify(login), { mode: 0o600, flag: 'wx' })
  renameSync(partial, file)
}

const TOO_LATE = 'nobody signed in in time: begin anew with `deputy login`'
/** What went wrong at the issuer; an error of the library carries whole answers, so only its words leave. */
const atIssuer = (error: unknown): Error => {
  const code =
    error instanceof oidc.ResponseBodyError
      ? error.error
      : error instanceof Error
        ? 'code' in error && typeof error.code === 'string'
          ? error.code
          : error.name
        : 'unknown'
  const known: Readonly<Record<string, string>> = {
    access_denied: 'the sign-in was refused at the issuer',
    expired_token: 'the code has expired: begin anew with `deputy login`',
    invalid_grant: 'the sign-in has ended: sign in again with `deputy login`',
    unauthorized_client: 'the issuer does not let this client use the device flow',
  }
  const sentence = Object.hasOwn(known, code) ? known[code] : undefined
  return new Error(sentence ?? `the issuer cannot be used (${visible(code)})`)
}

const clientOf = async ({ issuer, client_id }: Rules): Promise<oidc.Configuration> => {
  if (!safe(issuer)) throw new Error(`${visible(issuer)}: the issuer must be https`)
  const insecure = issuer.startsWith('http:') ? [oidc.allowInsecureRequests] : []
  const config = await oidc
    .discovery(new URL(issuer), client_id, undefined, oidc.None(), {
      execute: insecure,
      timeout: TIMEOUT_S,
    })
    .catch((error: unknown) => {
      throw atIssuer(error)
    })
  oidc.enableNonRepudiationChecks(config)
  return config
}

type Tokens = Awaited<ReturnType<typeof oidc.refreshTokenGrant>>
const textIn = (claims: object | undefined, names: readonly string[]): string => {
  const all = new Map<string, unknown>(Object.entries(claims ?? {}))
  for (const name of names) {
    const value = all.get(name)
    if (typeof value === 'string' && value !== '') return value
  }
  return 'somebody'
}
const kept = (
  of: Rules & { readonly url: string },
  tokens: Tokens,
  before: Saved | null,
): Saved => {
  const bearer = tokens[of.token]
  if (bearer === undefined)
    throw new Error('the issuer answers without an ID token: the scope must hold openid')
  const claims = tokens.claims()
  const lives = tokens.expiresIn() ?? 60
  return {
    ...of,
    version: 1,
    name: before?.name ?? textIn(claims, ['preferred_username', 'email', 'name', 'sub']),
    bearer,
    refresh: tokens.refresh_token ?? before?.refresh ?? null,
    expires_at:
      of.token === 'id_token' && claims !== undefined
        ? claims.exp * 1_000
        : Date.now() + lives * 1_000,
  }
}

/** What deputy itself says about signing in there. */
const askDeputy = async (url: string): Promise<Rules> => {
  const at = new URL('/v1/admin/login', url)
  if (!safe(at.href)) throw new Error(`${at.origin}: must be https`)
  const signal = AbortSignal.timeout(TIMEOUT_S * 1_000)
  const response = await fetch(at, { redirect: 'error', signal }).catch((error: unknown) => {
    throw new Error(`${at.origin} cannot be reached: is \`deputy serve\` running there?`, {
      cause: error,
    })
  })
  const parsed = rules.safeParse(await response.json().catch(() => null))
  if (response.ok && parsed.success) return parsed.data
  throw new Error(`${at.origin}: no operator signs in there: is operators_sign_in configured?`)
}

type LoginOptions = {
  readonly url: string
  readonly file: string
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}

const carried = async (options: LoginOptions, work: () => Promise<void>): Promise<number> => {
  try {
    await work()
    return 0
  } catch (error) {
    options.complain(visible(messageOf(error)))
    return 1
  }
}

/** Prints where to sign in and by which code, and waits until it is done. */
export const login = (options: LoginOptions): Promise<number> =>
  carried(options, async () => {
    const { url, file, print, complain } = options
    const of = await askDeputy(url)
    const { origin } = new URL(url)
    // Any deputy can name this issuer: who signs in must know which one the token is for.
    complain(visible(`for the deputy at ${origin}, which is sent the token of this sign-in:`))
    const config = await clientOf(of)
    const asked = {
      scope: of.scope,
      ...(of.audience === null ? {} : { audience: of.audience }),
    }
    const device = await oidc.initiateDeviceAuthorization(config, asked).catch((error: unknown) => {
      throw atIssuer(error)
    })
    const { verification_uri: page, verification_uri_complete: whole } = device
    if (!safe(page)) throw new Error(`${page}: the issuer sends people to an address without https`)
    complain(`sign in at ${visible(page)} with the code ${visible(device.user_code)}`)
    if (whole !== undefined && safe(whole) && new URL(whole).origin === new URL(page).origin)
      complain(`or open ${visible(whole)}`)
    complain('Only go on if you began this yourself, and the page shows this very code.')
    const signal = AbortSignal.timeout(Math.min(device.expires_in, MOST_CODE_S) * 1_000)
    const tokens = await oidc
      .pollDeviceAuthorizationGrant(config, device, {}, { signal })
      .catch((error: unknown) => {
        throw signal.aborted ? new Error(TOO_LATE) : atIssuer(error)
      })
    const made = kept({ ...of, url: origin }, tokens, null)
    await alone(file, async () => save(file, made))
    print(`signed in as ${visible(made.name)} (${visible(of.issuer)}); kept in ${file}`)
  })

/** The token of the sign-in, renewed where it ends. Throws an Error that says what to do. */
export const bearerOf = async (file: string, login: Saved): Promise<string> => {
  const lasts = (of: Saved): boolean => of.expires_at - EARLY_MS > Date.now()
  if (lasts(login)) return login.bearer
  return alone(file, async () => {
    const now = savedLogin(file)
    if (now?.url !== login.url)
      throw new Error('another command signed out or in elsewhere just now: try again')
    // Another command may have renewed it while this one waited.
    if (lasts(now)) return now.bearer
    if (now.refresh === null)
      throw new Error('the sign-in has ended: sign in again with `deputy login`')
    const { issuer, client_id, scope, audience, token, url } = now
    const tokens = await oidc
      .refreshTokenGrant(await clientOf(now), now.refresh)
      .catch((error: unknown) => {
        throw error instanceof oidc.ResponseBodyError ? atIssuer(error) : error
      })
    const next = kept({ issuer, client_id, scope, audience, token, url }, tokens, now)
    save(file, next)
    return next.bearer
  })
}

/** Ends the sign-in at the issuer, and removes it here in any case. */
export const logout = (options: Omit<LoginOptions, 'url'>): Promise<number> =>
  carried({ ...options, url: '' }, async () => {
    const { file, print } = options
    const login = await alone(file, async () => {
      const found = savedLogin(file)
      rmSync(file, { force: true })
      return found
    })
    if (login === null) return print('nobody is signed in')
    const config = await clientOf(login)
    if (config.serverMetadata().revocation_endpoint === undefined)
      return print('signed out here; the issuer ends the tokens by itself')
    const [token, hint] =
      login.refresh === null ? [login.bearer, 'access_token'] : [login.refresh, 'refresh_token']
    await oidc.tokenRevocation(config, token, { token_type_hint: hint }).catch((error: unknown) => {
      throw new Error(`signed out here, but not at the issuer: ${atIssuer(error).message}`)
    })
    print('signed out, here and at the issuer')
  })
