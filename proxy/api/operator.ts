// Who calls the operators' API, what they may do there, and which person they ask about.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Context } from 'hono'
import type { Person } from '../model.ts'
import { Problem } from '../problem.ts'
import { validId } from '../wire/canonical.ts'
import { invalid } from './rest.ts'

export type May = 'runs' | 'connections' | 'revoke'
export type Operator = {
  readonly name: string
  /** SHA-256 of it. */
  readonly bearer: Buffer
  readonly may: readonly May[]
  /** Absent: all of them. */
  readonly tenants?: readonly string[] | undefined
}
/** May do everything: whoever opens the socket could open the vault and its keys as well. */
const LOCAL: Operator = {
  name: 'local',
  bearer: Buffer.alloc(0),
  may: ['runs', 'connections', 'revoke'],
}
export type Naming = {
  /** The tenants and realms that `identity` knows: a person is named by all three parts. */
  readonly tenants: readonly string[]
  readonly realms: readonly string[]
  /** By realm, for which tenants it names people. */
  readonly realmsOf: (tenants: readonly string[]) => readonly string[]
}

/**
 * Which of these SHA-256 digests is that of the bearer; -1: none. Compares with all, each in
 * constant time.
 */
export const bearerAmong = (c: Context, digests: readonly Buffer[]): number => {
  // Some clients send their key without a scheme.
  const sent = (c.req.header('authorization') ?? '').replace(/^bearer +/i, '')
  const digest = createHash('sha256').update(sent).digest()
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
  if (!validId(id)) throw invalid('user_id: is longer than 256 bytes or has control characters')
  return { id, tenant: part('tenant', naming.tenants), realm: part('realm', naming.realms) }
}

export const createGate = (deps: {
  readonly operators: readonly Operator[]
  /** Whoever gets here is an operator already: by the socket of this machine. */
  readonly local?: boolean
  readonly onEvent: (event: string, fields: object) => Promise<void>
  /** A call without a good bearer. */
  readonly stranger: () => void
}) => {
  const digests = deps.operators.map(({ bearer }) => bearer)
  const serves = (operator: Operator, tenant: string): boolean =>
    operator.tenants === undefined || operator.tenants.includes(tenant)
  const refuse = async (operator: Operator, lacks: string, detail: string): Promise<never> => {
    await deps.onEvent('operator.refused', { operator: operator.name, lacks })
    throw new Problem('operator_refused', `operator ${operator.name} ${detail}`)
  }
  return {
    serves,
    /** Throws Problem unauthenticated or operator_refused. */
    enter: async (c: Context, may: May): Promise<Operator> => {
      const operator = deps.local === true ? LOCAL : deps.operators[bearerAmong(c, digests)]
      if (operator === undefined) {
        deps.stranger()
        throw new Problem('unauthenticated', 'the bearer is not one of an operator')
      }
      return operator.may.includes(may)
        ? operator
        : refuse(operator, may, `may not use this: it takes ${may}`)
    },
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
      if (!seen)
        await deps.onEvent('operator.refused', { operator: operator.name, lacks: 'tenant' })
      return seen
    },
  }
}

export type Gate = ReturnType<typeof createGate>
