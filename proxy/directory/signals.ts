// What a security event says: about whom, of which kind, and what it does here. Pure.
import type { JWTPayload } from 'jose'
import type { Person } from '../model.ts'
import { atPointer } from '../wire/json.ts'

/** Of RFC 8935 2.4. */
type EventFault = 'invalid_request' | 'invalid_key' | 'invalid_issuer' | 'invalid_audience'
/** A token that is not taken; trying again does not help. */
export class EventRefused extends Error {
  readonly fault: EventFault
  constructor(fault: EventFault, message: string, cause?: unknown) {
    super(message, { cause })
    this.fault = fault
  }
}

export type SaidEvent = {
  readonly issuer: string
  readonly jti: string
  /** When it was said, ms; what began later is not meant. */
  readonly at: number
  /** URI of what happened, and what is told of it. */
  readonly type: string
  readonly event: unknown
  readonly payload: JWTPayload
}

/** Of these kinds evidence and metrics speak; `ends`: what the person has running is ended, else only asked anew. */
const BASE = 'https://schemas.openid.net/secevent/'
const KINDS: Readonly<Record<string, { readonly cause: string; readonly ends: boolean }>> = {
  'http://schemas.openid.net/event/backchannel-logout': { cause: 'logout', ends: true },
  [`${BASE}caep/event-type/session-revoked`]: { cause: 'session_revoked', ends: true },
  [`${BASE}caep/event-type/credential-change`]: { cause: 'credential_change', ends: false },
  [`${BASE}caep/event-type/token-claims-change`]: { cause: 'token_claims_change', ends: false },
  [`${BASE}caep/event-type/assurance-level-change`]: {
    cause: 'assurance_level_change',
    ends: false,
  },
  [`${BASE}caep/event-type/device-compliance-change`]: {
    cause: 'device_compliance_change',
    ends: false,
  },
  [`${BASE}caep/event-type/risk-level-change`]: { cause: 'risk_level_change', ends: false },
  [`${BASE}risc/event-type/account-disabled`]: { cause: 'account_disabled', ends: true },
  [`${BASE}risc/event-type/account-purged`]: { cause: 'account_purged', ends: true },
  [`${BASE}risc/event-type/account-enabled`]: { cause: 'account_enabled', ends: false },
  [`${BASE}risc/event-type/account-credential-change-required`]: {
    cause: 'credential_change_required',
    ends: true,
  },
  [`${BASE}risc/event-type/credential-compromise`]: { cause: 'credential_compromise', ends: true },
  [`${BASE}risc/event-type/sessions-revoked`]: { cause: 'session_revoked', ends: true },
}
/** What a transmitter is asked for; a logout comes another way. */
export const EVENT_TYPES: readonly string[] = Object.keys(KINDS).filter((type) =>
  type.startsWith(BASE),
)
const STREAM: Readonly<Record<string, string>> = {
  [`${BASE}ssf/event-type/verification`]: 'verification',
  [`${BASE}ssf/event-type/stream-updated`]: 'stream_updated',
}

/** How this source names people. */
export type Naming = {
  /** Into the subject, in place of what its format says; null: by format. */
  readonly user: string | null
  readonly realm: string
  /** Into a logout token; null, or not there: `tenants`. */
  readonly tenant: string | null
  readonly tenants: readonly string[]
}
export type Meaning =
  /** Of the stream itself. */
  | {
      readonly kind: 'stream'
      readonly cause: string
      readonly status: string | null
      /** What whoever asked for this verification gave. */
      readonly state: string | null
    }
  /** Nothing that concerns anybody here. */
  | { readonly kind: 'other' }
  /** Of whoever had this session at the issuer. */
  | {
      readonly kind: 'session'
      readonly cause: string
      readonly ends: boolean
      readonly sid: string
    }
  | {
      readonly kind: 'person'
      readonly cause: string
      readonly ends: boolean
      readonly people: readonly Person[]
    }

const text = (value: unknown, path: string): string | null => {
  const found = atPointer(value, path)
  return typeof found === 'string' && found !== '' && found.length <= 1_024 ? found : null
}
const refuse = (message: string): EventRefused => new EventRefused('invalid_request', message)

/** RFC 9493, and SSF 1.0 for complex ones. */
const idIn = (subject: unknown, issuer: string, user: string | null, depth = 0): string => {
  // Older transmitters of RISC write `iss-sub`.
  const said = text(subject, '/format') ?? text(subject, '/subject_type')
  const format = said === null ? null : said.replaceAll('-', '_')
  const complex = atPointer(subject, '/user') !== undefined && depth === 0
  if (complex && (format === 'complex' || format === null))
    return idIn(atPointer(subject, '/user'), issuer, user, 1)
  const named = format === 'iss_sub' || format === 'id_token_claims'
  const wrongIssuer = named && text(subject, '/iss') !== issuer
  if (wrongIssuer) throw refuse('its subject is of another issuer')
  const usual: Readonly<Record<string, string>> = {
    iss_sub: '/sub',
    id_token_claims: '/sub',
    email: '/email',
    opaque: '/id',
    account: '/uri',
  }
  const at = format === null ? undefined : usual[format]
  if (at === undefined)
    throw refuse('its subject has a format that is not known here: use iss_sub, email or opaque')
  const id = text(subject, user ?? at)
  if (id === null) throw refuse(`its subject has no ${user ?? at}`)
  return format === 'account' && user === null ? id.replace(/^acct:/, '') : id
}

/** Throws EventRefused. */
export const meaningOf = (
  {
    type,
    event,
    payload,
    issuer,
  }: Pick<SaidEvent, 'type' | 'event' | 'issuer'> & {
    readonly payload: JWTPayload
  },
  { user, realm, tenant, tenants }: Naming,
): Meaning => {
  const named = (id: string, where: readonly string[]): readonly Person[] => {
    if (where.length === 0) throw refuse('nothing says of which tenant the person is')
    return where.map((one) => ({ tenant: one, realm, id }))
  }
  const stream = STREAM[type]
  if (stream !== undefined)
    return {
      kind: 'stream',
      cause: stream,
      status: text(event, '/status'),
      state: text(event, '/state'),
    }
  const known = KINDS[type]
  if (known === undefined) return { kind: 'other' }
  if (known.cause === 'logout') {
    const id = text(payload, user ?? '/sub')
    const sid = text(payload, '/sid')
    if (id === null && sid !== null) return { kind: 'session', ...known, sid }
    if (id === null) throw refuse(`it does not say who: it has no ${user ?? '/sub'} and no sid`)
    const own = tenant === null ? null : text(payload, tenant)
    return { kind: 'person', ...known, people: named(id, own === null ? tenants : [own]) }
  }
  // Before SSF 1.0 the subject stood in the event.
  const subject = payload['sub_id'] ?? atPointer(event, '/subject')
  return { kind: 'person', ...known, people: named(idIn(subject, issuer, user), tenants) }
}
