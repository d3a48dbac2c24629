// Which agent a connection is from: the client certificate by which it was begun, judged anew for each call.
import type { ClientCertificate, Clock, Workload } from '../../model.ts'
import { agentOf, denied, idAt, rowOf, type WorkloadRow } from './rows.ts'

const WHAT = 'certificate'

/** Its one name of a kind; null: none. Of two, nobody can say which is meant (X509-SVID 2). */
const only = (names: readonly string[], kind: string): string | null => {
  if (names.length > 1) throw denied(`the client certificate has more than one ${kind} name`)
  return names[0] ?? null
}

/** What stands at /uri, /dns and /cn; several DNS names are usual: each is tried. */
const claimsOf = ({ uris, dns, cns }: ClientCertificate) => {
  const uri = only(uris, 'URI')
  const cn = only(cns, 'CN')
  return (dns.length === 0 ? [null] : dns).map((name) => ({ uri, dns: name, cn }))
}

export const createCertificates = (
  rows: readonly WorkloadRow[],
  clock: Pick<Clock, 'now'>,
): ((certificate: ClientCertificate) => Workload) => {
  const known = new WeakMap<ClientCertificate, Workload>()
  const read = (certificate: ClientCertificate): Workload => {
    const each = claimsOf(certificate)
    const tries = each.flatMap((claims) => {
      try {
        return [{ claims, row: rowOf(claims, rows, WHAT) }]
      } catch {
        return []
      }
    })
    // Which row is meant does not hang on the order of names in the certificate.
    const first = tries.toSorted((a, b) => rows.indexOf(a.row) - rows.indexOf(b.row))[0]
    const { claims, row } = first ?? { claims: each[0], row: rowOf(each[0], rows, WHAT) }
    const by = row.match[0]?.[0] ?? '/uri'
    return {
      name: row.name,
      subject: idAt(claims, by, WHAT),
      agent: agentOf(row, claims, WHAT),
      expiresAt: certificate.validTo,
    }
  }
  return (certificate) => {
    if (certificate.problem !== null) throw denied(certificate.problem)
    const now = clock.now()
    // A connection may outlive the certificate that it began with.
    if (certificate.validTo <= now) throw denied('the client certificate has expired')
    if (certificate.validFrom > now) throw denied('the client certificate is not valid yet')
    let workload = known.get(certificate)
    if (workload === undefined) known.set(certificate, (workload = read(certificate)))
    return workload
  }
}
