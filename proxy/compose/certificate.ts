// Certificates that agents must trust: when one ends is said before it does.
import { endOf, endsSoon, outOfDate } from '../net/certificate.ts'
import type { Check } from '../net/admin.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Scope } from './scope.ts'

const LOOK_MS = 60_000

type Shown = { readonly cert: string } | null
type One = { readonly key: string; readonly listener: string; readonly cert: string }

/**
 * Tells the log once of each certificate that it ends soon, and once that it has ended; shows its end as a metric.
 * @returns what `/readyz?verbose` says; no reason not to be ready, since other listeners need none
 */
export const watchCertificate = (
  { clock, log, opened }: Pick<Scope, 'clock' | 'log' | 'opened'>,
  metrics: Pick<Metrics, 'watch'>,
  now: () => { readonly tls: Shown; readonly authority: Shown },
): { readonly check: () => readonly Check[]; readonly look: () => void } => {
  const said = new Map<string, string | null>()
  const all = (): readonly One[] => {
    const { tls, authority } = now()
    return [
      ...(tls === null
        ? []
        : [{ key: 'listeners.agent_tls.cert', listener: 'agent_tls', cert: tls.cert }]),
      ...(authority === null
        ? []
        : [{ key: 'forward.ca', listener: 'forward', cert: authority.cert }]),
    ]
  }
  const look = (): void => {
    for (const { key, cert } of all()) {
      const late = outOfDate(cert, clock.now())
      const sentence = late ?? endsSoon(cert, clock.now())
      if (sentence !== null && sentence !== said.get(key))
        log[late === null ? 'warn' : 'error']({}, `${key} ${sentence}`)
      said.set(key, sentence)
    }
  }
  metrics.watch(
    'deputy_certificate_expiry_timestamp_seconds',
    'gauge',
    'When the certificate of a listener ends.',
    () => all().map(({ listener, cert }) => [{ listener }, endOf(cert) / 1_000] as const),
  )
  look()
  const timer = setInterval(look, LOOK_MS)
  timer.unref()
  opened(() => clearInterval(timer))
  return {
    look,
    check: () =>
      all().map(({ listener, cert }) => ({
        name: listener === 'forward' ? 'forward.ca' : 'certificate',
        ok: true,
        detail: outOfDate(cert, clock.now()) ?? endsSoon(cert, clock.now()) ?? '',
      })),
  }
}
