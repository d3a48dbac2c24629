// Which agent is calling, by what its workload shows of itself: the token of a pod's service account, say, or a client certificate. It names the agent, and is no second tag.
import { follow } from '../../follow.ts'
import type { ClientCertificate, Clock, Log, Workload } from '../../model.ts'
import type { Fetch } from '../../net/dial.ts'
import type { IssuerKeys, KeySource } from '../../oauth/issuer_keys.ts'
import { createSignedTokens, type Times } from '../../oauth/signed_token.ts'
import { createReviewedTokens, type ReviewSource } from '../../oauth/token_review.ts'
import { createCertificates } from './certificate.ts'
import { agentOf, denied, idAt, rowOf, type WorkloadRow } from './rows.ts'

/** All rows of one issuer: they agree on how its tokens are verified (a rule of the configuration). */
export type WorkloadIssuer = KeySource & {
  readonly audience: string
  /** Longest life of its tokens, ms. */
  readonly maxAge: number
  /** The API server that is asked about each token, instead of keys; null: keys. */
  readonly review: ReviewSource | null
  readonly rows: readonly WorkloadRow[]
}

export type Workloads = {
  /** Are any configured? */
  readonly some: boolean
  /**
   * null: none is named, and none needs to be. Synchronous when its token was verified before. Throws Problem.
   * @param certificate what the client showed of itself; null: nothing
   */
  readonly of: (
    rawHeaders: readonly string[],
    certificate?: ClientCertificate | null,
  ) => Workload | null | Promise<Workload>
  /** The token as it came; null: none. Throws Problem when there are two. */
  readonly sent: (rawHeaders: readonly string[]) => string | null
  /** Is this JWT the token of a workload? Nothing is verified. */
  readonly meant: (token: string) => boolean
  readonly forget: () => void
}

/** One caller: what both say. Throws Problem where they are of two agents. */
const both = (byToken: Workload, byCertificate: Workload): Workload => {
  if (byToken.agent !== byCertificate.agent)
    throw denied(
      `the workload’s token says that the call is from ${byToken.agent}, and the client certificate says ${byCertificate.agent}`,
    )
  return byToken.expiresAt <= byCertificate.expiresAt
    ? byToken
    : { ...byToken, expiresAt: byCertificate.expiresAt }
}

/** The tokens of all issuers, by the way in which each is verified. */
const createTokens = (options: {
  readonly header: string
  readonly issuers: readonly WorkloadIssuer[]
  readonly keysOf: (source: KeySource) => IssuerKeys
  readonly fetch: Fetch
  readonly clock: Clock
  readonly log: Log
}): Pick<Workloads, 'meant' | 'forget'> & {
  readonly of: (token: string) => Workload | Promise<Workload>
} => {
  const read = (claims: unknown, { rows }: WorkloadIssuer, { expiresAt }: Times): Workload => {
    const row = rowOf(claims, rows, 'token')
    return {
      name: row.name,
      subject: idAt(claims, '/sub', 'token'),
      agent: agentOf(row, claims, 'token'),
      expiresAt,
    }
  }
  const { issuers, header } = options
  const common = { ...options, what: 'workload’s token', denied, read }
  const signed = createSignedTokens<WorkloadIssuer, Workload>({
    ...common,
    issuers: issuers.filter(({ review }) => review === null),
    where: header,
    foreign: 'holds no token of an issuer that workloads names',
    maxAge: 0, // each issuer has its own
  })
  const reviewed = createReviewedTokens<WorkloadIssuer & { review: ReviewSource }, Workload>({
    ...common,
    issuers: issuers.flatMap(({ review, ...issuer }) =>
      review === null ? [] : [{ ...issuer, review }],
    ),
  })
  return {
    of: (token) => (reviewed.issuedBy(token) ? reviewed : signed).of(token),
    meant: (token) => reviewed.meant(token) || signed.meant(token),
    forget: () => {
      reviewed.forget()
      signed.forget()
    },
  }
}

/**
 * @param options.header lower case
 * @param options.required a call without one is refused
 */
export const createWorkloads = (
  options: Parameters<typeof createTokens>[0] & {
    readonly required: boolean
    /** Rows of client certificates. */
    readonly certificates: readonly WorkloadRow[]
  },
): Workloads => {
  const { header, issuers, certificates, required } = options
  const tokens = createTokens(options)
  const byCertificate = createCertificates(certificates, options.clock)
  const sent = (rawHeaders: readonly string[]): string | null => {
    let token: string | null = null
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = rawHeaders[i] ?? ''
      if (name.length !== header.length || name.toLowerCase() !== header) continue
      if (token !== null) throw denied(`${header} came twice: a call has one agent`)
      token = (rawHeaders[i + 1] ?? '').trim().replace(/^bearer +/i, '')
    }
    return token
  }
  const some = issuers.length > 0 || certificates.length > 0
  return {
    some,
    of: (rawHeaders, certificate = null) => {
      if (!some) return null
      const token = sent(rawHeaders)
      const shown =
        certificate === null || certificates.length === 0 ? null : byCertificate(certificate)
      if (token === null) {
        if (shown === null && required)
          throw denied(
            `the call does not say which agent it is from: send the workload’s own token as ${header}${certificates.length === 0 ? '' : ', or show its certificate'}`,
          )
        return shown
      }
      const said = tokens.of(token)
      return shown === null ? said : follow(said, (known) => both(known, shown))
    },
    sent,
    meant: tokens.meant,
    forget: tokens.forget,
  }
}
