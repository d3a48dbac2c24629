// Whom a connection out believes, and what it shows of itself: files, looked at whenever one is dialled.
import type { SecureContext } from 'node:tls'
import { readPem, statOf, toldOf } from '../files.ts'
import type { ConnectionTls, Log } from '../model.ts'
import { readPair, unreadableCa } from './certificate.ts'

export type Trust = {
  /** PEM files of further certificate authorities, beside the system's. */
  readonly ca: readonly { readonly where: string; readonly path: string }[]
  /** What deputy shows of itself (RFC 8446 4.4.2); null: nothing. */
  readonly client: { readonly where: string; readonly cert: string; readonly key: string } | null
}

/** The files of all connections. @param ca of `upstream.ca` */
export const commonTrust = (ca: string | null): Trust => ({
  ca: ca === null ? [] : [{ where: 'upstream.ca', path: ca }],
  client: null,
})
/** The files of one connection beside those of all. */
export const trustOf = (common: Trust, tls: ConnectionTls | null): Trust =>
  tls === null
    ? common
    : {
        ca:
          tls.ca === null
            ? common.ca
            : [
                ...common.ca,
                { where: tls.where ?? `connections.${tls.connection}.ca`, path: tls.ca },
              ],
        client:
          tls.client === null
            ? null
            : { where: `connections.${tls.connection}.client_cert`, ...tls.client },
      }

/** Everything that is wrong with these files, each as `path: sentence`. Never throws. */
const readTrust = async (
  trust: Trust,
): Promise<
  | { readonly ca: readonly string[]; readonly cert?: string; readonly key?: string }
  | { readonly problems: readonly string[] }
> => {
  const problems: string[] = []
  const ca: string[] = []
  for (const { where, path } of trust.ca) {
    const text = await readPem(path).catch((error: unknown) => {
      problems.push(`${where}: ${toldOf(error)}`)
      return null
    })
    const wrong = text === null ? null : unreadableCa(text)
    if (wrong !== null) problems.push(`${where}: ${path} ${wrong}`)
    else if (text !== null) ca.push(text)
  }
  const shown = trust.client === null ? null : await readPair(trust.client.where, trust.client)
  if (shown !== null && 'problems' in shown) problems.push(...shown.problems)
  if (problems.length > 0) return { problems }
  return { ca, ...(shown !== null && 'pair' in shown ? shown.pair : {}) }
}
export const trustProblems = async (trust: Trust): Promise<readonly string[]> => {
  const read = await readTrust(trust)
  return 'problems' in read ? read.problems : []
}

/**
 * @returns the context to dial with as the files are now; null: the runtime's own. Files that changed are read again, and
 * while what is there now is wrong, the last good ones count. Rejects while there are no good ones.
 */
export const followTrust = (trust: Trust, log: Log): (() => Promise<SecureContext | null>) => {
  const paths = [
    ...trust.ca.map(({ path }) => path),
    ...(trust.client === null ? [] : [trust.client.cert, trust.client.key]),
  ]
  if (paths.length === 0) return () => Promise.resolve(null)
  let good: { readonly files: string; readonly context: SecureContext } | null = null
  let told: string | null = null
  let reading: Promise<SecureContext> | null = null
  const look = async (): Promise<SecureContext> => {
    const stamps = await Promise.all(
      paths.map((path) =>
        statOf(path).then(
          ({ ino, mtimeNs, size }) => [ino, mtimeNs, size].join(),
          () => 'unseen',
        ),
      ),
    )
    const files = stamps.join(' ')
    if (good?.files === files) return good.context
    const read = await readTrust(trust)
    if ('problems' in read) {
      const problem = read.problems.join('; ')
      if (problem !== told)
        log.error(
          { reason: problem },
          good === null
            ? 'certificates that a connection needs cannot be used: nothing is dialled with them'
            : 'certificates cannot be read again: the last good ones are used',
        )
      told = problem
      if (good !== null) return good.context
      throw Object.assign(new Error(problem), { code: 'DEPUTY_TRUST_UNREADABLE' })
    }
    const tls = await import('node:tls')
    const { ca, ...pair } = read
    // `ca` replaces what the runtime trusts by itself, so that is named too.
    const context = tls.createSecureContext({
      ...pair,
      ...(ca.length === 0 ? {} : { ca: [...tls.getCACertificates('default'), ...ca] }),
    })
    if (good !== null)
      log.info({ files: paths }, 'certificates read again: new connections use them')
    told = null
    good = { files, context }
    return context
  }
  // Who dials at the same moment looks once.
  return () =>
    (reading ??= look().finally(() => {
      reading = null
    }))
}
