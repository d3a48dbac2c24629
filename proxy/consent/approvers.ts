// Who may say yes to a call: by the directory now, of the same tenant and realm, and never the person the call is for
// unless policy says so.
import type { Decision, Entitlements, JsonObject, Person } from '../model.ts'
import { unanswered, type PeopleSource } from '../pipeline/entitlements.ts'
import { samePerson, validId } from '../wire/canonical.ts'

/** One yes that policy demands of a call, or of one of its parts. */
export type Need = {
  readonly name: string
  /** Which of the calls in a batch, from 1; null: the call is one. */
  readonly part: number | null
  /** `group:NAME`, `person:ID`, `manager`. */
  readonly approvers: readonly string[]
  readonly ttlS: number
  /** The person themselves may say it, if they are among the approvers, or if nobody else is. */
  readonly self: boolean
}

/** A month: a yes is to one call that is being made, not a standing permission. */
const MOST_TTL_S = 30 * 86_400
const APPROVER = /^(?:manager|group:.+|person:.+)$/s

const needOf = (name: string, part: number | null, properties: JsonObject): Need | null => {
  const { approvers, ttl_s: ttlS, self = false } = properties
  if (!Array.isArray(approvers) || typeof ttlS !== 'number' || typeof self !== 'boolean')
    return null
  if (!(ttlS > 0 && ttlS <= MOST_TTL_S) || (approvers.length === 0 && !self)) return null
  const named = approvers.filter(
    (one): one is string =>
      typeof one === 'string' && APPROVER.test(one) && validId(one.slice(one.indexOf(':') + 1)),
  )
  return named.length === approvers.length ? { name, part, approvers: named, ttlS, self } : null
}

/** What a decision demands; null: nothing that somebody could give, or not in this form. */
export const needsOf = (
  { obligations }: Pick<Decision, 'obligations'>,
  part: number | null,
): readonly Need[] | null => {
  const needs: Need[] = []
  for (const [name, { type, properties }] of Object.entries(obligations)) {
    if (type !== 'approval') continue
    const need = needOf(name, part, properties)
    if (need === null) return null
    needs.push(need)
  }
  return needs.length === 0 ? null : needs
}

/** May this person give it? Asked of the directory at each call. */
export type MayApprove = (need: Need, of: Person, approver: Person) => Promise<boolean>

const folded = (id: string): string => id.normalize('NFKC').toLowerCase()

/** @throws Problem entitlements_unavailable (of what is returned) where the directory cannot be asked */
export const createMayApprove = (people: PeopleSource): MayApprove => {
  const known = async (person: Person): Promise<Entitlements | null> => {
    if (people.kind !== 'directory') return null
    try {
      return await people.ask(person, 0)
    } catch (cause) {
      return unanswered(cause)
    }
  }
  return async ({ approvers, self }, of, approver) => {
    if (approver.tenant !== of.tenant || approver.realm !== of.realm) return false
    const own = samePerson(approver, of)
    // To many directories these are one: nobody approves their own call by another spelling.
    if (own ? !self : folded(approver.id) === folded(of.id)) return false
    const facts = await known(approver)
    if (people.kind === 'directory' && facts?.active !== true) return false
    if (approvers.length === 0) return own
    for (const one of approvers) {
      if (one === `person:${approver.id}`) return true
      if (one.startsWith('group:') && facts?.groups.includes(one.slice(6)) === true) return true
      if (one === 'manager' && !own && (await known(of))?.manager === approver.id) return true
    }
    return false
  }
}
