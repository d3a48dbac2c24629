// The obligations rate_limit and budget: how often, or how much, within a time that slides.
import type { Full, Json, JsonObject, Obligation, Take } from '../../model.ts'
import { Problem } from '../../problem.ts'
import type { Body } from '../inspect.ts'
import type { Due, Gathering, Obliged } from '../obligations.ts'
import type { Act } from '../classify.ts'

/** What a limit may be counted for; each tenant has counters of its own in any case. */
const DIMENSIONS = ['person', 'agent', 'connection', 'operation', 'tenant'] as const
type Dimension = (typeof DIMENSIONS)[number]
/** The longest window, s: 31 days. */
const LONGEST_S = 2_678_400
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  rate_limit: ['key', 'limit', 'window_s'],
  budget: ['key', 'limit', 'window_s', 'pointer', 'of'],
}

/** What a row demands. */
type Limit = {
  readonly key: readonly Dimension[]
  readonly limit: number
  readonly windowS: number
  /** What of the body is added up; null: calls are counted. */
  readonly sum: { readonly pointer: string; readonly of: 'value' | 'items' } | null
}

const whole = (value: unknown, least: number, most: number): value is number =>
  Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most
const isDimension = (value: unknown): value is Dimension =>
  (DIMENSIONS as readonly unknown[]).includes(value)

/** What is wrong with the properties, in words that follow the obligation's name. */
const limitOf = (
  type: string,
  { key, limit, window_s: window, pointer, of, ...more }: Obligation['properties'],
): Limit | string => {
  const odd = Object.keys(more).concat(
    type === 'rate_limit'
      ? Object.keys({ pointer, of }).filter((name) => ({ pointer, of })[name as 'of'] !== undefined)
      : [],
  )
  if (odd.length > 0)
    return `has ${odd.join(', ')}, which ${type} does not: ${MEMBERS[type]?.join(', ') ?? ''}`
  if (
    !Array.isArray(key) ||
    key.length === 0 ||
    !key.every(isDimension) ||
    new Set(key).size < key.length
  )
    return `has a key that is not some of ${DIMENSIONS.join(', ')}, each once`
  if (!whole(limit, 0, Number.MAX_SAFE_INTEGER)) return 'has a limit that is no whole number from 0'
  if (!whole(window, 1, LONGEST_S))
    return `has a window_s that is no whole number from 1 to ${LONGEST_S}`
  const counted = { key, limit, windowS: window }
  if (type === 'rate_limit') return { ...counted, sum: null }
  if (typeof pointer !== 'string') return 'has no pointer'
  if (of !== 'value' && of !== 'items') return 'has an of that is neither value nor items'
  return { ...counted, sum: { pointer, of } }
}

const refused = (name: string, what: string): Problem =>
  new Problem('obligation_refused', `policy demands ${JSON.stringify(name)}, which ${what}`, {
    extra: { obligation: name },
  })

/** A form and a query have texts only: a number is written there in one way. */
const DIGITS = /^(?:0|[1-9]\d{0,15})$/
const hasTexts = ({ state, contentType }: Body): boolean =>
  state === 'none' ||
  /^\s*(?:application\/x-www-form-urlencoded|multipart\/form-data)\b/i.test(contentType ?? '')

/** In the place of a pointer: everybody to whom a mail goes. */
const MAIL = 'request.mail'
const recipientsOf = (name: string, of: NonNullable<Limit['sum']>['of'], body: Body): number => {
  if (of !== 'items') throw refused(name, `adds up ${MAIL}, of which only items can be counted`)
  const { mail } = body
  if (mail === undefined || mail.unread)
    throw refused(name, `counts the recipients of a mail, and no mail was read`)
  const { to, cc, bcc } = mail
  return to.length + cc.length + bcc.length
}

/** What was read at the pointer, by whichever kind of call this is; undefined: nothing. */
const valueAt = (pointer: string, { graphql, mcp }: Act, body: Body): Json | undefined => {
  const of = (read: JsonObject | undefined): Json | undefined =>
    read !== undefined && Object.hasOwn(read, pointer) ? read[pointer] : undefined
  return of(mcp?.arguments) ?? of(graphql?.arguments) ?? of(body.json)
}

/** @throws Problem obligation_refused: what cannot be counted for certain is not taken for nothing */
const amountOf = (
  name: string,
  { pointer, of }: NonNullable<Limit['sum']>,
  { act, body }: Obliged,
): number => {
  if (pointer === MAIL) return recipientsOf(name, of, body)
  const where = JSON.stringify(pointer)
  if (!act.operation.inspect.includes(pointer))
    throw refused(name, `adds up ${where}, which is not read of ${act.operation.id}`)
  if (body.state !== 'parsed' && body.state !== 'none')
    throw refused(name, `adds up ${where} of a body that was not read`)
  const value = valueAt(pointer, act, body)
  if (value === undefined) throw refused(name, `adds up ${where}, which the call does not have`)
  if (of === 'items') {
    if (Array.isArray(value)) return value.length
    throw refused(name, `counts the items of ${where}, which is no list`)
  }
  const number =
    typeof value === 'string' && hasTexts(body) && DIGITS.test(value) ? Number(value) : value
  if (whole(number, 0, Number.MAX_SAFE_INTEGER)) return number
  throw refused(name, `adds up ${where}, which is no whole number from 0 to 2^53`)
}

/** Whose counter it is. Part by part, so that two never have the same by how they are written. */
const keyOf = ({ type, name, about }: Due, key: readonly Dimension[]): readonly string[] => {
  const { who, route, act } = about
  const parts: Readonly<Record<Dimension, readonly string[]>> = {
    tenant: [],
    person: [who.person.realm, who.person.id],
    agent: [who.agent],
    connection: [route.connection.name],
    operation: [act.operation.id],
  }
  const named = DIMENSIONS.filter((one) => key.includes(one)).flatMap((one) => [one, ...parts[one]])
  return [type, name, who.person.tenant, ...named]
}

const take = (due: Due): Take => {
  const { type, name, properties, about } = due
  const limit = limitOf(type, properties)
  if (typeof limit === 'string') throw refused(name, limit)
  const key = keyOf(due, limit.key)
  if (!key.every((part) => part.isWellFormed()))
    throw refused(name, 'cannot be counted for a name that is not well-formed')
  return {
    key,
    person: limit.key.includes('person') ? about.who.person : null,
    windowMs: limit.windowS * 1_000,
    limit: limit.limit,
    amount: limit.sum === null ? 1 : amountOf(name, limit.sum, about),
  }
}

const reached = ({ type, name, properties }: Due, { retryMs }: Full): Problem => {
  const said = limitOf(type, properties)
  const what =
    typeof said === 'string'
      ? ''
      : `: ${said.limit} in ${said.windowS} s for each ${said.key.join(', ')}`
  return new Problem('rate_limited', `policy's limit ${name} is reached${what}`, {
    extra: { obligation: name, retry_after: Math.ceil(retryMs / 1_000) },
  })
}

/**
 * Both types: a call is counted for all of its limits, with all of its parts, or for none. It is counted before it
 * leaves, once, and stays counted, whatever becomes of it; a call that a limit refuses is counted for none.
 * @param count rejects with Problem limits_unavailable
 */
export const createLimits = (
  count: (takes: readonly Take[]) => Promise<Full | null>,
): Gathering => {
  /** By the exchange: what was counted when it was decided before. */
  const counted = new WeakMap<object, Set<string>>()
  return {
    types: new Set(Object.keys(MEMBERS)),
    able: (name, { type, properties }) => {
      const limit = limitOf(type, properties)
      if (typeof limit === 'string') throw refused(name, limit)
    },
    together: async (all) => {
      const fresh = all.filter(
        ({ about, type, name }) =>
          counted.get(about.call)?.has(JSON.stringify([about.part, type, name])) !== true,
      )
      if (fresh.length === 0) return
      const takes = fresh.map(take)
      for (let full = await count(takes); full !== null; full = await count(takes)) {
        const due = fresh[full.at]
        if (due === undefined) throw new Problem('internal', 'a limit that was not asked for')
        if (!(await due.about.backOff(full.retryMs))) throw reached(due, full)
      }
      for (const { about, type, name } of fresh) {
        const mine = counted.get(about.call) ?? new Set()
        counted.set(about.call, mine.add(JSON.stringify([about.part, type, name])))
      }
    },
  }
}
