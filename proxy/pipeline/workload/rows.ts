// Rows of `workloads`: what a verified token or certificate must say, and the agent that it names then.
import { Problem } from '../../problem.ts'
import { validId } from '../../wire/canonical.ts'
import { atPointer } from '../../wire/json.ts'
import { fits } from '../../wire/pattern.ts'

export type WorkloadRow = {
  readonly name: string
  /** JSON pointers into the claims, and what must stand there; `*` stands for any characters. */
  readonly match: readonly (readonly [pointer: string, pattern: string])[]
  /** The agent's name, or the JSON pointer of the claim that says it. */
  readonly agent: string
}

export const denied = (detail: string, cause?: unknown): Problem =>
  new Problem('workload_unauthenticated', detail, { cause })

const says = (claims: unknown, pointer: string, pattern: string): boolean => {
  const value = atPointer(claims, pointer)
  return typeof value === 'string' && fits(pattern, value)
}

/** The first row that the claims match. @param what has said them, in sentences */
export const rowOf = (claims: unknown, rows: readonly WorkloadRow[], what: string): WorkloadRow => {
  const misses: string[] = []
  for (const row of rows) {
    const miss = row.match.find(([pointer, pattern]) => !says(claims, pointer, pattern))
    if (miss === undefined) return row
    misses.push(`${row.name} wants another ${miss[0]}`)
  }
  throw denied(
    `the workload’s ${what} verifies, but no row of workloads is meant: ${misses.join(', ')}`,
  )
}

/** A name at this place. */
export const idAt = (claims: unknown, pointer: string, what: string): string => {
  const value = atPointer(claims, pointer)
  if (typeof value !== 'string' || !validId(value))
    throw denied(`the workload’s ${what} has no name at ${pointer} that an agent could have`)
  return value
}

export const agentOf = ({ agent }: WorkloadRow, claims: unknown, what: string): string =>
  agent.startsWith('/') ? idAt(claims, agent, what) : agent
