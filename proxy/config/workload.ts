// A row of `workloads`: which of its keys go together.

/** A row as it is written, as far as it is looked at here. */
type Written = {
  readonly issuer?: unknown
  readonly spiffe?: unknown
  readonly certificate?: unknown
  readonly token_review?: unknown
  readonly jwks_uri?: unknown
  readonly jwks?: unknown
  readonly max_age?: unknown
  readonly match: object
}

const DOMAIN = /^[a-z0-9._-]{1,255}$/
/** `spiffe://corp.example` → `corp.example`; null: it is no trust domain. */
export const trustDomainOf = (text: string): string | null => {
  const domain = text.startsWith('spiffe://') ? text.slice('spiffe://'.length) : null
  return domain !== null && DOMAIN.test(domain) ? domain : null
}

/** What is wrong with a row by itself, each as `: sentence`, or `.key: sentence`. */
export const workloadProblems = (row: Written): readonly string[] => {
  const { issuer, spiffe, certificate, token_review: review, jwks, jwks_uri: jwksUri } = row
  const kinds = [issuer, spiffe, certificate].filter((kind) => kind !== undefined)
  const keys = jwks !== undefined || jwksUri !== undefined
  const matched = Object.keys(row.match).length > 0
  return [
    kinds.length !== 1 &&
      ': needs exactly one of issuer, spiffe and certificate: they say by what a workload is known',
    review !== undefined &&
      issuer === undefined &&
      '.token_review: needs the issuer of the cluster’s tokens: no others are shown to its API server',
    review !== undefined && keys && ': has token_review and keys: keep one',
    spiffe !== undefined &&
      !keys &&
      '.spiffe: needs the bundle of the trust domain: name it as jwks, a file, or jwks_uri',
    certificate !== undefined &&
      (keys || matched || row.max_age !== undefined) &&
      '.certificate: stands alone: match, max_age, jwks and jwks_uri are for tokens',
    certificate === undefined &&
      !matched &&
      '.match: needs one claim at least, such as /kubernetes.io/namespace: without, every workload of the issuer would be this agent',
  ].filter((problem) => problem !== false)
}
