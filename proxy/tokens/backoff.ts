// For how long deputy does not ask a provider again after a failure, and the problems that tell a
// caller to come back.
import type { Challenge, LostResponse } from '../model.ts'
import { Problem } from '../problem.ts'
import type { TokenFailure } from '../oauth/token_answer.ts'

/** After the provider refused our client, no request with it is sent for this long. */
const CIRCUIT_MS = 60_000
/** During that time single grants may try, one after the other, this far apart. */
const PROBE_MS = 1_000
/**
 * If so many grants are refused with the same word, and none is renewed between them, the client is
 * wrong.
 */
const ALIKE = 3

export const reauthorize = (detail: string, challenge: Challenge = {}): Problem =>
  new Problem('reauthorization_required', detail, { extra: challenge })
/**
 * It has no cause, because a failed refresh is logged once, where it failed, and not by each call
 * that needs it.
 */
export const unavailable = (error: string, ms: number): Problem =>
  new Problem('credential_unavailable', `the provider's token endpoint failed: ${error}`, {
    extra: { retry_after: Math.max(1, Math.ceil(ms / 1000)) },
  })

export const inProgress = (): Problem =>
  new Problem('refresh_in_progress', 'the token is being refreshed', {
    extra: { retry_after: 1 },
  })

/**
 * How long a credential is left alone after a failure, ms.
 * @param unknownBefore an earlier answer was lost already: replays may end the whole grant (RFC
 *   9700 4.14.2)
 */
export const coolDown = (
  failure: TokenFailure,
  lostResponse: LostResponse,
  unknownBefore: boolean,
  jittered: (ms: number) => number,
): number => {
  if (failure.kind === 'busy')
    return Math.min(Math.max(failure.retryAfterMs ?? jittered(5_000), 1_000), 3_600_000)
  if (failure.kind === 'our_fault') return jittered(15_000)
  if (failure.kind !== 'unknown' && failure.kind !== 'unread')
    return jittered(failure.kind === 'not_sent' ? 3_000 : 10_000)
  if (!unknownBefore) return jittered(3_000)
  return lostResponse === 'no' || lostResponse === 'unknown' ? 300_000 : 30_000
}

/** Once a refusal has lasted this long (ms) and come this often, waiting does not help. */
const LASTING_MS = 300_000
const LASTING_TIMES = 3
/** A grant whose refusal persists is tried again at this interval, ms. */
export const DOUBTFUL_MS = 300_000

/**
 * Counts a refusal in words that blame neither the grant nor the client; null: not one of those.
 * @param renewed did another grant of the connection get a token within so many ms?
 * @returns `lasting`: only the person can help, as far as anybody knows
 */
export const refusals = async (
  { kind, error }: TokenFailure,
  before: { readonly since: number; readonly times: number } | null,
  at: { readonly now: number; readonly blamed: boolean; readonly alone: boolean },
  renewed: (ms: number) => Promise<boolean>,
): Promise<{
  readonly since: number
  readonly times: number
  readonly lasting: boolean
} | null> => {
  if (kind !== 'refused' && kind !== 'our_fault') return null
  // Some say unauthorized_client of one dead grant (Atlassian). Any other word for a wrong client
  // lasts only where others fared better since.
  const ours = kind === 'our_fault' && (at.blamed || error !== 'unauthorized_client')
  const since = before?.since ?? at.now
  const times = (before?.times ?? 0) + 1
  const long = !ours && times >= LASTING_TIMES && at.now - since >= LASTING_MS
  const window = ours ? at.now - since : Math.max(LASTING_MS, at.now - since)
  return { since, times, lasting: long || (at.alone && (await renewed(window))) }
}

/**
 * Whether a provider refuses our client, or only some grants of it. Ends with the process; one a
 * connection.
 */
export const createCircuit = (mono: () => number) => {
  let word = ''
  let until = 0
  let probedAt = -PROBE_MS
  let probing = false
  const refused = new Set<string>()
  return {
    /** ms for which this caller may not ask; 0: it may, and tells `left` when it is done. */
    enter: (): number => {
      const left = until - mono()
      if (left <= 0) return 0
      if (probing || mono() - probedAt < PROBE_MS) return left
      probing = true
      probedAt = mono()
      return 0
    },
    left: (): void => void (probing = false),
    works: (): void => {
      refused.clear()
      until = 0
    },
    /**
     * @returns `blamed`: it is the client; `alone`: no other grant was refused since one was
     * renewed
     */
    refuses: (credential: string, { kind, error }: TokenFailure) => {
      if (error !== word) refused.clear()
      word = error
      refused.add(credential)
      const blamed = kind === 'our_fault' && refused.size >= ALIKE
      if (blamed) until = mono() + CIRCUIT_MS
      return { blamed, alone: refused.size === 1 }
    },
  }
}
