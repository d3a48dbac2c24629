// A Kubernetes API server is asked about a token for each call: it alone knows that a pod or an account was deleted a moment ago.
import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { room } from '../memo.ts'
import { readText, toldOf } from '../files.ts'
import type { Clock, ConnectionTls, Log } from '../model.ts'
import type { Fetch } from '../net/dial.ts'
import { messageOf, Problem } from '../problem.ts'
import { atPointer, parseStrict } from '../wire/json.ts'
import { assertOneReading } from '../wire/jwt.ts'
import { claimsOf, isFor, LONGEST, timesOf, type SignedTokens, type Times } from './signed_token.ts'
import { createSend } from './transport.ts'

/** Whom to ask, and as whom. */
export type ReviewSource = {
  /** For sentences of the log: `workloads.0.token_review`. */
  readonly where: string
  /** Origin of the API server. */
  readonly server: string
  /** PEM of its authority; null: those of all connections. */
  readonly ca: string | null
  /** The file of deputy's own token, read for each question: the kubelet turns it. */
  readonly tokenFile: string
  /** ms for which an answer that said yes counts; 0: for none but those who waited for it. */
  readonly cache: number
}

/** Far below any time limit of a call. */
const DEADLINE_MS = 3_000
/** Questions at once to one API server. */
const MOST = 64
/** Of these about tokens that it never accepted: anybody can invent such, and the others go on. */
const MOST_NEW = 48
const MAX_OWN = 64 * 1024
const LONGEST_SAID = 200

const unavailable = (detail: string, cause?: unknown): Problem =>
  new Problem('workload_unavailable', detail, { cause })

const text = (value: unknown): string | null => (typeof value === 'string' ? value : null)
const EXTRA = 'authentication.kubernetes.io'
/**
 * What the answer says of the token, at the places where a token of a service account has it, so that one `match` fits
 * both; and under /user as the API server has it.
 */
const claimsOfReview = (answer: unknown): Readonly<Record<string, unknown>> => {
  const user = atPointer(answer, '/status/user')
  const username = text(atPointer(user, '/username'))
  const [, namespace, account] =
    /^system:serviceaccount:([^:]+):([^:]+)$/.exec(username ?? '') ?? []
  const extra = (name: string) => text(atPointer(user, `/extra/${EXTRA}~1${name}/0`))
  const named = (name: string | null, uid: string | null) =>
    name === null ? {} : { name, ...(uid === null ? {} : { uid }) }
  return {
    sub: username,
    user,
    ...(namespace === undefined || account === undefined
      ? {}
      : {
          'kubernetes.io': {
            namespace,
            serviceaccount: named(account, text(atPointer(user, '/uid'))),
            pod: named(extra('pod-name'), extra('pod-uid')),
            node: named(extra('node-name'), extra('node-uid')),
          },
        }),
  }
}

type Question<T> = { readonly running: Promise<T>; next: Promise<T> | null }
const settled = (): void => undefined
/**
 * Who asks while an answer is on its way waits for the next one, because that one was perhaps given before what this
 * caller has to know of; all who wait have one question together.
 */
const createJoint = <T>(full: () => Error) => {
  const open = new Map<string, Question<T>>()
  const begin = (key: string, ask: () => Promise<T>, most: number): Promise<T> => {
    if (!open.has(key) && open.size >= most) return Promise.reject(full())
    const one: Question<T> = { running: ask(), next: null }
    open.set(key, one)
    const end = (): void => {
      if (one.next === null) open.delete(key)
    }
    one.running.then(end, end)
    return one.running
  }
  /** @param most questions that may be open when this one begins */
  return (key: string, ask: () => Promise<T>, most: number): Promise<T> => {
    const one = open.get(key)
    if (one === undefined) return begin(key, ask, most)
    return (one.next ??= one.running.then(settled, settled).then(() => begin(key, ask, most)))
  }
}

/** The question itself. @returns the answer's text; throws an Error that says why there is none */
const createQuestion = (source: ReviewSource, fetch: Fetch) => {
  const { where, server, ca } = source
  const tls: ConnectionTls | null =
    ca === null ? null : { connection: where, where: `${where}.ca`, ca, client: null }
  const send = createSend((url, init) => fetch(url, { ...init, tls }), DEADLINE_MS)
  const url = `${server.replace(/\/$/, '')}/apis/authentication.k8s.io/v1/tokenreviews`
  return async (token: string, audience: string): Promise<string> => {
    const own = (await readText(source.tokenFile, MAX_OWN)).trim()
    if (!/^[\x21-\x7e]+$/.test(own)) throw new Error(`${source.tokenFile} holds no token`)
    const raw = await send(url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${own}`,
        'content-type': 'application/json',
        accept: 'application/json',
        'user-agent': 'deputy',
      },
      body: JSON.stringify({
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token, audiences: [audience] },
      }),
    })
    if ('kind' in raw)
      throw new Error(`${server} cannot be asked (${raw.description ?? raw.error})`)
    if (raw.status === 401 || raw.status === 403)
      throw new Error(
        `${server} answers ${raw.status}: the token in ${source.tokenFile} may not create tokenreviews: bind its service account to the ClusterRole system:auth-delegator`,
      )
    if (raw.status !== 200 && raw.status !== 201) throw new Error(`${server} answers ${raw.status}`)
    if (raw.body === null) throw new Error(`${server} answers more than 256 kB`)
    return raw.body
  }
}

/** As createSignedTokens, for the tokens of issuers that are asked about each. */
export const createReviewedTokens = <
  I extends {
    readonly issuer: string
    readonly audience: string
    readonly maxAge: number
    readonly review: ReviewSource
  },
  T,
>(options: {
  readonly issuers: readonly I[]
  readonly what: string
  readonly denied: (detail: string, cause?: unknown) => Problem
  readonly fetch: Fetch
  readonly clock: Clock
  readonly log: Log
  /** What the API server says of a token; throws Problem. */
  readonly read: (claims: Readonly<Record<string, unknown>>, issuer: I, times: Times) => T
}): SignedTokens<T> & { readonly issuedBy: (token: string) => boolean } => {
  const { clock, log, what, denied } = options
  const issuers = options.issuers.map((issuer) => ({
    issuer,
    ask: createQuestion(issuer.review, options.fetch),
    joint: createJoint<T>(() =>
      unavailable('too many tokens of workloads are being asked about just now'),
    ),
    complaint: '',
  }))
  type Asked = (typeof issuers)[number]
  const remembered = new LRUCache<string, { readonly said: T; readonly until: number }>(
    room(10_000),
  )
  let changes = 0

  const issuerOf = (token: string): Asked | null => {
    const claims = claimsOf(token)
    return claims === null
      ? null
      : (issuers.find(({ issuer }) => issuer.issuer === claims.iss) ?? null)
  }

  const answered = async (asked: Asked, token: string): Promise<unknown> => {
    const { review, audience } = asked.issuer
    try {
      const answer: unknown = parseStrict(await asked.ask(token, audience))
      if (typeof atPointer(answer, '/status') !== 'object')
        throw new Error(`${review.server} answers without a status`)
      if (asked.complaint !== '')
        log.info({ server: review.server }, 'the API server answers again')
      asked.complaint = ''
      return answer
    } catch (error) {
      const said = toldOf(error)
      if (said !== asked.complaint)
        log.warn({ where: review.where, reason: said }, 'workloads cannot be asked about')
      asked.complaint = said
      throw unavailable('the cluster cannot be asked about the workload’s token now', error)
    }
  }

  const verdict = async (asked: Asked, token: string, times: Times): Promise<T> => {
    const answer = await answered(asked, token)
    if (atPointer(answer, '/status/authenticated') !== true) {
      const why = text(atPointer(answer, '/status/error'))?.slice(0, LONGEST_SAID)
      throw denied(`the cluster does not accept the ${what}${why === undefined ? '' : `: ${why}`}`)
    }
    const audiences = atPointer(answer, '/status/audiences')
    // Without the list the API server looked at no audience at all.
    if (!Array.isArray(audiences) || !audiences.includes(asked.issuer.audience))
      throw denied(`the ${what} is not for ${asked.issuer.audience}`)
    return options.read(claimsOfReview(answer), asked.issuer, times)
  }

  /** What needs no question: whatever is refused here is not shown to the API server. */
  const timesIn = (token: string, { issuer }: Asked): Times => {
    try {
      assertOneReading(token)
    } catch (error) {
      throw denied(`the ${what} cannot be read in one way: ${messageOf(error)}`, error)
    }
    const claims = claimsOf(token) ?? {}
    if (typeof claims.exp !== 'number' || typeof claims.iat !== 'number')
      throw denied(`the ${what} has no exp or no iat`)
    if (!isFor(claims, issuer.audience)) throw denied(`the ${what} is not for ${issuer.audience}`)
    const { maxAge: longest } = issuer
    return timesOf(claims, clock.now() / 1_000, { what, longest, limit: 'its max_age', denied })
  }

  return {
    of: (token) => {
      if (token.length > LONGEST) throw denied(`the ${what} is too long`)
      const asked = issuerOf(token)
      if (asked === null) throw denied(`the ${what} is of no issuer here`)
      const times = timesIn(token, asked)
      const digest = hash('sha256', token, 'base64url')
      const known = remembered.get(digest)
      if (known !== undefined && known.until > clock.now()) return known.said
      const seen = changes
      // Counted from the question: what was deleted while the answer was on its way is not known for longer.
      const until = Math.min(clock.now() + asked.issuer.review.cache, times.expiresAt)
      const ask = async (): Promise<T> => {
        const said = await verdict(asked, token, times)
        if (seen === changes) remembered.set(digest, { said, until })
        return said
      }
      return asked.joint(digest, ask, known === undefined ? MOST_NEW : MOST)
    },
    meant: (token) => {
      const asked = issuerOf(token)
      return asked !== null && isFor(claimsOf(token) ?? {}, asked.issuer.audience)
    },
    issuedBy: (token) => issuerOf(token) !== null,
    forget: () => {
      changes++
      remembered.clear()
    },
  }
}
