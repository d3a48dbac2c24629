// A service of the team's own judges one call: asked once, signed, and believed only where its answer has one reading.
import { randomUUID, type KeyObject } from 'node:crypto'
import type { Clock, Log } from '../model.ts'
import type { Fetch } from '../net/dial.ts'
import { isObject } from '../wire/json.ts'
import { arePointers } from '../wire/rewrite.ts'
import { createInTurn, MOST_AT_ONCE, within } from './asked.ts'
import { createGet } from './page.ts'
import { Unanswered } from './source.ts'

export type HookAnswer = {
  readonly allow: boolean
  readonly reasons: readonly { readonly code: string; readonly msg: string }[]
  /** JSON pointers into what it was shown. */
  readonly redact: readonly string[]
}
export type Hook = {
  readonly name: string
  readonly when: 'before' | 'after'
  /** Operations by id, or families such as `issues.*`; `*`: all. */
  readonly operations: readonly string[]
  /**
   * Asks once, without a second try. Rejects with Unanswered.
   * @param body JSON
   * @param share of whom it takes a place: one agent never takes all
   * @param whose a person's key: what fails for one of them alone stops no other
   */
  readonly ask: (body: string, share: string, whose: string) => Promise<HookAnswer>
}

const MOST_BYTES = 64 * 1024
const MOST_REASONS = 16
const MOST_MESSAGE = 256
const CODE = /^[a-z][a-z0-9_]{0,57}$/
const MEMBERS: ReadonlySet<string> = new Set(['allow', 'reasons', 'redact'])
/** Of the questions that may be under way at once. */
const MOST_OF_ONE = MOST_AT_ONCE / 2

const malformed = (what: string): Unanswered => new Unanswered('malformed', `its answer ${what}`)
const reasonOf = (value: unknown): HookAnswer['reasons'][number] => {
  if (isObject(value) && Object.keys(value).length === 2) {
    const { code, msg } = value
    if (
      typeof code === 'string' &&
      CODE.test(code) &&
      typeof msg === 'string' &&
      msg.length <= MOST_MESSAGE
    )
      return { code, msg }
  }
  throw malformed('has a reason that is not {code, msg}')
}
/** @throws Unanswered: anything else than the three members, each of its type */
const readHookAnswer = (value: unknown): HookAnswer => {
  if (!isObject(value)) throw malformed('is no object')
  const odd = Object.keys(value).find((name) => !MEMBERS.has(name))
  if (odd !== undefined) throw malformed('has a member that deputy does not know')
  const { allow, reasons = [], redact = [] } = value
  if (typeof allow !== 'boolean') throw malformed('says neither true nor false in allow')
  if (!Array.isArray(reasons) || reasons.length > MOST_REASONS)
    throw malformed(`has no list of at most ${MOST_REASONS} reasons`)
  if (!arePointers(redact)) throw malformed('has in redact no list of JSON pointers')
  if (!allow && redact.length > 0) throw malformed('refuses and redacts at once')
  return { allow, reasons: reasons.map(reasonOf), redact }
}

export const createHook = (options: {
  readonly name: string
  readonly when: Hook['when']
  readonly url: string
  readonly key: KeyObject
  readonly operations: readonly string[]
  /** For the turn of a question, and again for its answer, ms. */
  readonly timeoutMs: number
  readonly fetch: Fetch
  readonly clock: Clock
  readonly log: Log
}): Hook => {
  const { name, when, url, key, operations, timeoutMs, fetch, clock, log } = options
  const get = createGet({ fetch, authorization: async () => null, clock, most: MOST_BYTES })
  const inTurn = createInTurn(`hooks.${name}`, timeoutMs, clock, log)
  const shares = new Map<string, number>()
  // Most have no hooks, and need no library to sign with.
  const signer = async () => (await import('../net/webhook.ts')).createSigner(key)
  let signing: ReturnType<typeof signer> | null = null

  const asked = async (body: string): Promise<HookAnswer> => {
    const signed = await (signing ??= signer())
    const id = `hook_${randomUUID()}`
    const page = await within(timeoutMs, (signal) =>
      get(signal)(url, { method: 'POST', body, headers: signed(id, clock.now(), body) }),
    )
    if (page === null) throw new Unanswered('status', 'it answers 404')
    return readHookAnswer(page.json)
  }
  return {
    name,
    when,
    operations,
    ask: async (body, share, whose) => {
      const under = shares.get(share) ?? 0
      if (under >= MOST_OF_ONE)
        throw new Unanswered('busy', `this agent has ${under} questions under way`)
      shares.set(share, under + 1)
      try {
        return await inTurn(whose, () => asked(body))
      } finally {
        const left = (shares.get(share) ?? 1) - 1
        if (left === 0) shares.delete(share)
        else shares.set(share, left)
      }
    },
  }
}
