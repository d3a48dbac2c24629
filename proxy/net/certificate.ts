// The certificate that a listener shows, and its key: what is wrong with them, before a client finds it.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readText, toldOf } from '../files.ts'

export type Pair = { readonly cert: string; readonly key: string }
/** What a listener shows, and by which authorities (PEM) it asks for the client's; null: it does not ask. */
export type Shown = Pair & { readonly clientCa: string | null }

const read = async (where: string, path: string, problems: string[]): Promise<string | null> =>
  readText(path).catch((error: unknown) => {
    problems.push(`${where}: ${toldOf(error)}`)
    return null
  })
const parsed = <T>(make: () => T, say: string, problems: string[]): T | null => {
  try {
    return make()
  } catch {
    problems.push(say) // the parser's own words are OpenSSL's
    return null
  }
}

/** Reads both files. Never throws: what is wrong is listed, each as `path: sentence`. */
export const readPair = async (
  where: string,
  paths: { readonly cert: string; readonly key: string },
): Promise<{ readonly pair: Pair } | { readonly problems: readonly string[] }> => {
  const problems: string[] = []
  const cert = await read(`${where}.cert`, paths.cert, problems)
  const key = await read(`${where}.key`, paths.key, problems)
  const chain =
    cert === null
      ? null
      : parsed(
          () => new X509Certificate(cert),
          `${where}.cert: ${paths.cert} is no certificate: write the PEM of the certificate, and of those between it and its CA`,
          problems,
        )
  const own =
    key === null
      ? null
      : parsed(
          () => createPrivateKey(key),
          `${where}.key: ${paths.key} is no private key: write an unencrypted PEM`,
          problems,
        )
  if (chain !== null && own !== null && !chain.checkPrivateKey(own))
    problems.push(
      `${where}.key: ${paths.key} is not the key of ${paths.cert}: name the two that were made together`,
    )
  return cert === null || key === null || problems.length > 0
    ? { problems }
    : { pair: { cert, key } }
}

/** Why clients will not trust it now; null: the dates are right. @param now ms since the epoch */
export const outOfDate = (pem: string, now: number): string | null => {
  const { validFromDate, validToDate } = new X509Certificate(pem)
  if (validToDate.getTime() <= now) return `expired on ${validToDate.toISOString()}: renew it`
  if (validFromDate.getTime() > now)
    return `is not valid before ${validFromDate.toISOString()}: wait until then, or set this machine's clock right`
  return null
}

const BLOCK = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g
/** What is wrong with a file of certificate authorities; null: nothing. */
export const unreadableCa = (pem: string): string | null => {
  const blocks = pem.match(BLOCK) ?? []
  const say = 'is no list of certificates: write the PEM of each authority, one after the other'
  if (blocks.length === 0) return say
  try {
    return blocks.every((block) => new X509Certificate(block).raw.length > 0) ? null : say
  } catch {
    return say // the parser's own words are OpenSSL's
  }
}

const WARN_MS = 14 * 86_400_000
/** That it ends within a fortnight, or within the last fifth of a shorter life; null: not yet, or it is out of date already. */
export const endsSoon = (pem: string, now: number): string | null => {
  if (outOfDate(pem, now) !== null) return null
  const { validFromDate, validToDate } = new X509Certificate(pem)
  const end = validToDate.getTime()
  const before = Math.min(WARN_MS, (end - validFromDate.getTime()) / 5)
  return end - now > before ? null : `expires on ${validToDate.toISOString()}: renew it`
}

/** When its time is over, ms since the epoch. */
export const endOf = (pem: string): number => new X509Certificate(pem).validToDate.getTime()
