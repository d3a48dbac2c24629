// Who asks deputy's own API for something: the tag says it, and only where it names nobody, the body.
import type { IncomingMessage } from 'node:http'
import type { Context } from 'hono'
import type { Principal } from '../model.ts'
import { Problem, type ProblemCode } from '../problem.ts'
import type { Env } from './rest.ts'

export type CallerDeps = {
  /** Throws Problem unauthenticated. @param req as it came, for what the client showed of itself */
  readonly identify: (
    rawHeaders: readonly string[],
    req?: IncomingMessage,
  ) => Principal | Promise<Principal>
  /**
   * Under `trust: plain`, or where there are applications, else null: a user id as the tag of a request that names
   * nobody. It answers null when the request did name somebody, badly.
   * @param tenant of a person who is known by more than the id
   */
  readonly plainPerson:
    | ((
        userId: string,
        rawHeaders: readonly string[],
        tenant?: string,
        req?: IncomingMessage,
      ) => Principal | Promise<Principal> | null)
    | null
}
export type Caller = {
  readonly who: Principal
  /** The user as the body names them; null: the tag did. */
  readonly named: string | null
}

/** What a request is refused with whose headers say nothing of a person. */
const NAMES_NOBODY: ReadonlySet<ProblemCode> = new Set([
  'unauthenticated',
  'application_user_missing',
])

const rawHeadersOf = (c: Context<Env>): readonly string[] =>
  c.env?.incoming?.rawHeaders ?? [...c.req.raw.headers].flat()

/**
 * The tag decides. Only under `plain` and for the key of an application, and only where a request names nobody, the
 * user that it speaks of does: there any caller may name any user, here any of its own.
 */
export const createCaller =
  (deps: CallerDeps) =>
  async (
    c: Context<Env>,
    spokenOf: () => Promise<{ readonly id: string; readonly tenant?: string } | null>,
  ): Promise<Caller> => {
    try {
      return { who: await deps.identify(rawHeadersOf(c), c.env?.incoming), named: null }
    } catch (error) {
      if (!(error instanceof Problem) || !NAMES_NOBODY.has(error.code)) throw error
      if (deps.plainPerson === null) throw error
      const user = await spokenOf()
      const who =
        user === null
          ? null
          : await deps.plainPerson(user.id, rawHeadersOf(c), user.tenant, c.env?.incoming)
      if (who === null) throw error
      return { who, named: user?.id ?? null }
    }
  }

/** @throws Problem user_id_mismatch */
export const mine = (userId: string | undefined, { person }: Principal): void => {
  if (userId !== undefined && userId !== person.id)
    throw new Problem(
      'user_id_mismatch',
      'user_id is not the user that the tag of this request names',
    )
}
