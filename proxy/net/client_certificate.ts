// The certificate that a client showed when its connection began: what it says, and whether its chain holds.
import type { X509Certificate } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { ClientCertificate } from '../model.ts'
import { outerOf } from './sockets.ts'

/** A value with a comma or a quote in it is written as JSON. */
const NAME = /([A-Za-z][A-Za-z ]*):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/gy

/** Alternative names by their kind. null: they cannot be read whole, and half of them are not to be believed. */
export const alternativeNames = (
  text: string,
): readonly (readonly [kind: string, value: string])[] | null => {
  const names: (readonly [string, string])[] = []
  let end = 0
  for (const [whole, kind = '', written = ''] of text.matchAll(NAME)) {
    end += whole.length
    try {
      const value: unknown = written.startsWith('"') ? JSON.parse(written) : written
      if (typeof value !== 'string') return null
      names.push([kind, value])
    } catch {
      return null
    }
  }
  return end === text.length ? names : null
}

const commonNames = (certificate: X509Certificate): readonly string[] => {
  const cn: unknown = certificate.toLegacyObject().subject.CN
  return [cn].flat().filter((each) => typeof each === 'string')
}

/** The narrowest time within which the whole chain is valid. */
const timesOf = (
  leaf: X509Certificate,
): { readonly validFrom: number; readonly validTo: number } => {
  let [validFrom, validTo] = [-Infinity, Infinity]
  // A root is its own issuer in some versions; no chain is longer than this.
  let at: X509Certificate | undefined = leaf
  for (let n = 0; at !== undefined && n < 16; n += 1) {
    validFrom = Math.max(validFrom, at.validFromDate.getTime())
    validTo = Math.min(validTo, at.validToDate.getTime())
    at = at.issuerCertificate
  }
  return { validFrom, validTo }
}

/** @param wrong why its chain does not hold; null: it does */
export const readCertificate = (leaf: X509Certificate, wrong: string | null): ClientCertificate => {
  const names = alternativeNames(leaf.subjectAltName ?? '')
  const of = (kind: string): readonly string[] =>
    (names ?? []).flatMap(([found, value]) => (found === kind ? [value] : []))
  return {
    uris: of('URI'),
    dns: of('DNS').map((name) => name.toLowerCase()),
    cns: commonNames(leaf),
    ...timesOf(leaf),
    problem:
      wrong !== null
        ? `the client certificate does not verify by listeners.agent_tls.client_ca: ${wrong}`
        : leaf.ca
          ? 'the client certificate is one of an authority'
          : names === null
            ? 'the client certificate has names that cannot be read'
            : null,
  }
}

const seen = new WeakMap<Duplex, ClientCertificate | null>()
/** Of this connection; null: it showed none, or is none of TLS. */
export const clientCertificate = (carried: Duplex): ClientCertificate | null => {
  const socket = outerOf(carried)
  if (!(socket instanceof TLSSocket)) return null
  let found = seen.get(socket)
  if (found === undefined) {
    const leaf = socket.getPeerX509Certificate()
    // Node's type says Error, and a code is there.
    const wrong: unknown = socket.authorizationError
    const why = typeof wrong === 'string' ? wrong : wrong instanceof Error ? wrong.message : null
    found =
      leaf === undefined
        ? null
        : readCertificate(leaf, socket.authorized ? null : (why ?? 'unauthorized'))
    seen.set(socket, found)
  }
  return found
}
