// Who calls the operators' API, what they may do there, and which person they ask about.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Context } from 'hono'
import type { z } from 'zod'
import type { Log, Person } from '../model.ts'
import { Problem } from '../problem.ts'
import { validId } from '../wire/canonical.ts'
import { invalid, readQuery } from './rest.ts'

/** `list`: see the runs of others, for those who may not mint them. */
export type May = 'runs' | 'connections' | 'revoke' | 'list'
export type Operator = {
  readonly name: string
  readonly may: readonly May[]
  /** Absent: all of them. */
  readonly tenants?: readonly string[] | undefined
  /** A person who signed in; absent: a bearer, or the socket. */
  readonly sso?: {
    readonly id: string
    /** Whose word for it this is. */
    readonly realm: string
    readonly roles: readonly string[]
    /** May do everything else too, unless there is a reason why not any more. */
    readonly glass?: { readonly shut: string | null }
  }
}
/** Operators by a token instead of a bearer. */
export type SignedIn = {
  /** Could this be a token, rather than a bearer? */
  readonly looksLike: (sent: string) => boolean
  /** Throws Problem unauthenticated, operator_refused or issuer_unavailable. */
  readonly operator: (token: string) => Promise<Operator>
}
/** A row of `operators`. */
export type Machine = Operator & {
  /** SHA-256 of each that opens. */
  readonly bearer: readonly Buffer[]
}
/** May do everything: whoever opens the socket could open the vault and its keys as well. */
const LOCAL: Operator = {
  name: 'local',
  may: ['runs', 'connections', 'revoke'],
}
export type Naming = {
  /** The tenants and realms that `identity` knows: a person is named by all three parts. */
  readonly tenants: readonly string[]
  readonly realms: readonly string[]
  /** By realm, for which tenants it names people. */
  readonly realmsOf: (tenants: readonly string[]) => readonly string[]
}

/** Refusals of one operator that are recorded each by itself in a second; more are counted as those of strangers are. */
const TOLD_PER_SECOND = 10

/** Who did it, for the evidence. */
export const by = ({ name, sso }: Operator): object =>
  sso === undefined
    ? { operator: name }
    : { operator: name, signed_in: { id: sso.id, realm: sso.realm, roles: sso.roles } }

/** The bearer, as it came. Some clients send their key without a scheme. */
const sentBy = (c: Context): string =>
  (c.req.header('authorization') ?? '').replace(/^bearer +/i, '')

/**
 * Which of these SHA-256 digests is that of the bearer; -1: none. Compares with all, each in
 * constant time.
 */
export const bearerAmong = (c: Context, digests: readonly Buffer[]): number => {
  const digest = createHash('sha256').update(sentBy(c)).digest()
  return digests.reduce((found, each, i) => (timingSafeEqual(each, digest) ? i : found), -1)
}

/** What there is for an operator: of other tenants it learns neither their names nor their realms. */
export const namingFor = (naming: Naming, { tenants: only }: Operator): Naming => {
  if (only === undefined) return naming
  const tenants = naming.tenants.filter((tenant) => only.includes(tenant))
  return { ...naming, tenants, realms: naming.realmsOf(tenants) }
}

/**
 * A person by all three parts: what was said, else the only possibility. Throws Problem
 * request_invalid.
 */
export const personNamed = (
  naming: Naming,
  id: string,
  said: { readonly tenant?: string | undefined; readonly realm?: string | undefined },
): Person => {
  const part = (name: 'tenant' | 'realm', known: readonly string[]): string => {
    const value = said[name] ?? (known.length === 1 ? known[0] : undefined)
    if (value === undefined)
      throw invalid(
        known.length === 0
          ? `${name}: is missing`
          : `${name}: is missing; there are ${known.join(', ')}`,
      )
    return value
  }
  if (!validId(id))
    throw invalid('user_id: is longer than 256 bytes, has control characters, or is `.` or `..`')
  return { id, tenant: part('tenant', naming.tenants), realm: part('realm', naming.realms) }
}

export const createGate = (deps: {
  readonly operators: readonly Machine[]
  /** null: operators are those rows only. */
  readonly signIn: SignedIn | null
  /** Whoever gets here is an operator already: by the socket of this machine. */
  readonly local?: boolean
  readonly onEvent: (event: string, fields: object) => Promise<void>
  /** A call without a good bearer, or one of too many that an operator was refused. */
  readonly stranger: (code?: 'operator_refused' | 'unauthenticated') => void
  readonly mono: () => number
  readonly log: Pick<Log, 'warn'>
}) => {
  const keys = deps.operators.flatMap((operator) =>
    operator.bearer.map((digest) => ({ operator, digest })),
  )
  const digests = keys.map(({ digest }) => digest)
  const serves = (operator: Operator, tenant: string): boolean =>
    operator.tenants === undefined || operator.tenants.includes(tenant)
  let second = 0
  const told = new Map<string, number>()
  /** Everybody of the organisation has a token that says who they are: none of them may fill the evidence. */
  const record = async (operator: Operator, lacks: string): Promise<void> => {
    const at = Math.floor(deps.mono() / 1_000)
    if (at !== second) told.clear()
    second = at
    const count = (told.get(operator.name) ?? 0) + 1
    told.set(operator.name, count)
    if (count > TOLD_PER_SECOND) deps.stranger('operator_refused')
    else await deps.onEvent('operator.refused', { ...by(operator), lacks })
  }
  const refuse = async (operator: Operator, lacks: string, detail: string): Promise<never> => {
    await record(operator, lacks)
    throw new Problem('operator_refused', `operator ${operator.name} ${detail}`)
  }
  const named = async (c: Context): Promise<Operator> => {
    const machine = keys[bearerAmong(c, digests)]?.operator
    if (machine !== undefined) return machine
    try {
      const sent = sentBy(c)
      if (deps.signIn?.looksLike(sent) === true) return await deps.signIn.operator(sent)
      throw new Problem('unauthenticated', 'the bearer is not one of an operator')
    } catch (error) {
      deps.stranger()
      throw error
    }
  }
  /** Only where no other role would do. Nothing is done before it is recorded. */
  const breakGlass = async (operator: Operator, may: May, method: string): Promise<void> => {
    const told = { ...by(operator), lacks: may, method }
    await deps.onEvent('operator.break_glass', told)
    deps.log.warn(told, 'an operator breaks the glass')
  }
  const permit = async (
    operator: Operator,
    { may, or = may, method }: { readonly may: May; readonly or?: May; readonly method: string },
  ): Promise<void> => {
    if (operator.may.includes(may) || operator.may.includes(or)) return
    const { sso } = operator
    if (sso?.roles.length === 0)
      await refuse(
        operator,
        'role',
        'has no role: the table operator_roles has none for its groups',
      )
    if (sso?.glass === undefined) return refuse(operator, may, `may not use this: it takes ${may}`)
    const { shut } = sso.glass
    if (shut !== null) await refuse(operator, 'break-glass', shut)
    await breakGlass(operator, may, method)
  }
  return {
    serves,
    /**
     * @param or instead of which this would do too
     * Throws Problem unauthenticated or operator_refused.
     */
    enter: async (c: Context, may: May, or: May = may): Promise<Operator> => {
      const operator = deps.local === true ? LOCAL : await named(c)
      await permit(operator, { may, or, method: c.req.method })
      return operator
    },
    /** The same of somebody who is known already. Throws Problem operator_refused. */
    permit,
    /** Throws Problem operator_refused when the operator is not for this tenant. */
    mustServe: async (operator: Operator, tenant: string): Promise<void> => {
      if (!serves(operator, tenant)) await refuse(operator, 'tenant', 'does not serve this tenant')
    },
    /**
     * Whether something that was named by its id is of one of the operator's tenants. What is not does
     * not exist for it: the evidence alone says otherwise.
     */
    sees: async (operator: Operator, tenant: string): Promise<boolean> => {
      const seen = serves(operator, tenant)
      if (!seen) await record(operator, 'tenant')
      return seen
    },
  }
}

export type Gate = ReturnType<typeof createGate>

/**
 * Who asks to see or end something of the person whom the path names, and that person.
 * @throws Problem of an operator who may not, or of a person who cannot be meant
 */
export const personAsked = async <
  Q extends z.ZodType<{ tenant?: string | undefined; realm?: string | undefined }>,
>(
  c: Context,
  gate: Gate,
  naming: Naming,
  shape: Q,
): Promise<{
  readonly operator: Operator
  readonly person: Person
  readonly query: z.output<Q>
}> => {
  const operator = await gate.enter(c, 'revoke')
  const query = readQuery(c, shape)
  const person = personNamed(namingFor(naming, operator), c.req.param('id') ?? '', query)
  await gate.mustServe(operator, person.tenant)
  return { operator, person, query }
}
