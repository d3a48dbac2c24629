// Which agent is calling, by its own token: that of a pod's service account, say. It names the agent, and is no second tag.
import type { JWTPayload } from 'jose'
import type { Clock, Workload } from '../model.ts'
import type { IssuerKeys, KeySource } from '../oauth/issuer_keys.ts'
import { createSignedTokens } from '../oauth/signed_token.ts'
import { Problem } from '../problem.ts'
import { validId } from '../wire/canonical.ts'
import { atPointer } from '../wire/json.ts'
import { fits } from '../wire/pattern.ts'

/** A row of `workloads`. */
export type WorkloadRow = {
  readonly name: string
  /** JSON pointers into the claims, and what must stand there; `*` stands for any characters. */
  readonly match: readonly (readonly [pointer: string, pattern: string])[]
  /** The agent's name, or the JSON pointer of the claim that says it. */
  readonly agent: string
}
/** All rows of one issuer: they agree on its keys and on the audience (a rule of the configuration). */
export type WorkloadIssuer = KeySource & {
  readonly audience: string
  readonly rows: readonly WorkloadRow[]
}

export type Workloads = {
  /** Are any configured? */
  readonly some: boolean
  /** null: none is named, and none needs to be. Synchronous when its token was verified before. Throws Problem. */
  readonly of: (rawHeaders: readonly string[]) => Workload | null | Promise<Workload>
  /** The token as it came; null: none. Throws Problem when there are two. */
  readonly sent: (rawHeaders: readonly string[]) => string | null
  /** Is this JWT the token of a workload? Nothing is verified. */
  readonly meant: (token: string) => boolean
  readonly forget: () => void
}

const denied = (detail: string, cause?: unknown): Problem =>
  new Problem('workload_unauthenticated', detail, { cause })

const says = (payload: JWTPayload, pointer: string, pattern: string): boolean => {
  const value = atPointer(payload, pointer)
  return typeof value === 'string' && fits(pattern, value)
}

/** The first row that the claims match. */
const rowOf = (payload: JWTPayload, rows: readonly WorkloadRow[]): WorkloadRow => {
  const misses: string[] = []
  for (const row of rows) {
    const miss = row.match.find(([pointer, pattern]) => !says(payload, pointer, pattern))
    if (miss === undefined) return row
    misses.push(`${row.name} wants another ${miss[0]}`)
  }
  throw denied(
    `the workload’s token verifies, but no row of workloads is meant: ${misses.join(', ')}`,
  )
}

const idAt = (payload: JWTPayload, pointer: string): string => {
  const value = atPointer(payload, pointer)
  if (typeof value !== 'string' || !validId(value))
    throw denied(`the workload’s token has no name at ${pointer} that an agent could have`)
  return value
}

/**
 * @param options.header lower case
 * @param options.required a call without one is refused
 */
export const createWorkloads = (options: {
  readonly header: string
  readonly required: boolean
  readonly issuers: readonly WorkloadIssuer[]
  readonly maxAge: number
  readonly keysOf: (source: KeySource) => IssuerKeys
  readonly clock: Clock
}): Workloads => {
  const { header, issuers } = options
  const tokens = createSignedTokens<WorkloadIssuer, Workload>({
    ...options,
    what: 'workload’s token',
    where: header,
    foreign: 'holds no token of an issuer that workloads names',
    denied,
    read: (payload, { rows }, { expiresAt }) => {
      const { name, agent } = rowOf(payload, rows)
      const subject = idAt(payload, '/sub')
      return {
        name,
        subject,
        agent: agent.startsWith('/') ? idAt(payload, agent) : agent,
        expiresAt,
      }
    },
  })
  const sent = (rawHeaders: readonly string[]): string | null => {
    let token: string | null = null
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = rawHeaders[i] ?? ''
      if (name.length !== header.length || name.toLowerCase() !== header) continue
      if (token !== null) throw denied(`${header} came twice: a call has one agent`)
      token = (rawHeaders[i + 1] ?? '').trim().replace(/^bearer +/i, '')
    }
    return token
  }
  return {
    some: issuers.length > 0,
    of: (rawHeaders) => {
      if (issuers.length === 0) return null
      const token = sent(rawHeaders)
      if (token !== null) return tokens.of(token)
      if (options.required)
        throw denied(
          `the call does not say which agent it is from: send the workload’s own token as ${header}`,
        )
      return null
    },
    sent,
    meant: tokens.meant,
    forget: tokens.forget,
  }
}
