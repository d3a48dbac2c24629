// Whom the configuration believes: issuers of tags, and those who say which workload calls.
import type { Config, IssuerConfig } from '../config/schema.ts'
import { trustDomainOf } from '../config/workload.ts'
import { readPem, readText, toldOf } from '../files.ts'
import { unreadableCa } from '../net/certificate.ts'
import { readJwks, type KeySource } from '../oauth/issuer_keys.ts'
import type { ReviewSource } from '../oauth/token_review.ts'
import type { Issuer } from '../pipeline/identify.ts'
import type { WorkloadIssuer } from '../pipeline/workload/workload.ts'
import type { WorkloadRow } from '../pipeline/workload/rows.ts'
import { messageOf } from '../problem.ts'

type At = (path: string) => string
type Row = Config['workloads'][number]

const readKeySource = async (
  {
    issuer,
    jwks,
    jwks_uri: jwksUri,
  }: { readonly issuer: string } & Pick<IssuerConfig, 'jwks' | 'jwks_uri'>,
  at: At,
  spiffe?: string,
): Promise<KeySource> => {
  const jwksFile = jwks === undefined ? null : at(jwks)
  if (jwksFile !== null)
    try {
      readJwks(await readText(jwksFile), spiffe !== undefined)
    } catch (error) {
      throw new Error(
        `${jwks} is no ${spiffe === undefined ? 'JWKS' : 'SPIFFE bundle'}: ${messageOf(error)}`,
        { cause: error },
      )
    }
  return { issuer, jwksUri: jwksUri ?? null, jwksFile, spiffe }
}

export const readIssuer = async (issuer: IssuerConfig, at: At): Promise<Issuer> => ({
  ...(await readKeySource(issuer, at)),
  realm: issuer.realm ?? issuer.issuer,
  audience: issuer.audience,
  user: issuer.user,
  agent: issuer.agent,
  tenant: issuer.tenant ?? null,
  tenants: issuer.tenants ?? null,
})

/** Who says that a token is a workload's: its issuer, or its trust domain; empty: nobody, it is a certificate. */
export const sourceOf = ({ issuer, spiffe }: Pick<Row, 'issuer' | 'spiffe'>): string =>
  issuer ?? spiffe ?? ''

const readReview = async (
  { token_review: review }: Row,
  i: number,
  at: At,
): Promise<ReviewSource | null> => {
  if (review === undefined) return null
  const where = `workloads.${i}.token_review`
  const ca = review.ca === undefined ? null : at(review.ca)
  const tokenFile = at(review.token)
  if (ca !== null) {
    const wrong = unreadableCa(await readPem(ca))
    if (wrong !== null) throw new Error(`${where}.ca: ${ca} ${wrong}`)
  }
  await readText(tokenFile).catch((error: unknown) => {
    throw new Error(`${where}.token: ${toldOf(error)}`, { cause: error })
  })
  return { where, server: review.server, ca, tokenFile, cache: review.cache }
}

/** Of keys that cannot tell who was deleted, a token is believed for this long and no longer. */
const MAX_AGE_MS = 600_000
const REVIEWED_MAX_AGE_MS = 3_600_000

/** The rows of `workloads` of one source; null: none, or they are of certificates. */
export const readWorkloads = async (
  { workloads }: Pick<Config, 'workloads'>,
  source: string,
  at: At,
): Promise<WorkloadIssuer | null> => {
  const rows = workloads.filter((row) => sourceOf(row) === source)
  const [first] = rows
  if (first === undefined || source === '') return null
  const review = await readReview(first, workloads.indexOf(first), at)
  const spiffe = first.spiffe === undefined ? undefined : (trustDomainOf(first.spiffe) ?? undefined)
  return {
    ...(await readKeySource({ ...first, issuer: source }, at, spiffe)),
    audience: first.audience,
    maxAge: first.max_age ?? (review === null ? MAX_AGE_MS : REVIEWED_MAX_AGE_MS),
    review,
    rows: rows.map(({ name, match, agent }) => ({ name, match: Object.entries(match), agent })),
  }
}

/** The rows of `workloads` that client certificates match. */
export const certificateRows = ({ workloads }: Pick<Config, 'workloads'>): readonly WorkloadRow[] =>
  workloads.flatMap(({ name, certificate, agent }) =>
    certificate === undefined
      ? []
      : [
          {
            name,
            agent,
            match: (['uri', 'dns', 'cn'] as const).flatMap((kind) => {
              const pattern = certificate[kind]
              return pattern === undefined ? [] : [[`/${kind}`, pattern] as const]
            }),
          },
        ],
  )
