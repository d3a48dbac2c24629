// The certificate that agents are shown: when it ends is said before it does.
import { endOf, endsSoon, outOfDate, type Pair } from '../net/certificate.ts'
import type { Check } from '../net/admin.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Scope } from './scope.ts'

const LOOK_MS = 60_000

/**
 * Tells the log once of each certificate that it ends soon, and once that it has ended; shows its end as a metric.
 * @returns what `/readyz?verbose` says; no reason not to be ready, since other listeners need none
 */
export const watchCertificate = (
  { clock, log, opened }: Pick<Scope, 'clock' | 'log' | 'opened'>,
  metrics: Pick<Metrics, 'watch'>,
  now: () => { readonly tls: Pair | null },
): { readonly check: () => readonly Check[]; readonly look: () => void } => {
  let said = ''
  const what = (sentence: string): string => `listeners.agent_tls.cert ${sentence}`
  const look = (): void => {
    const { tls } = now()
    if (tls === null) return
    const late = outOfDate(tls.cert, clock.now())
    const sentence = late ?? endsSoon(tls.cert, clock.now())
    if (sentence !== null && sentence !== said)
      log[late === null ? 'warn' : 'error']({}, what(sentence))
    said = sentence ?? ''
  }
  metrics.watch(
    'deputy_certificate_expiry_timestamp_seconds',
    'gauge',
    'When the certificate of a listener ends.',
    () => {
      const { tls } = now()
      return tls === null ? [] : [[{ listener: 'agent_tls' }, endOf(tls.cert) / 1_000]]
    },
  )
  look()
  const timer = setInterval(look, LOOK_MS)
  timer.unref()
  opened(() => clearInterval(timer))
  return {
    look,
    check: () => {
      const { tls } = now()
      if (tls === null) return []
      const detail = outOfDate(tls.cert, clock.now()) ?? endsSoon(tls.cert, clock.now())
      return [{ name: 'certificate', ok: true, detail: detail ?? '' }]
    },
  }
}
