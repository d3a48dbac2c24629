// Turns the text that a policy answered into a decision of exactly the promised shape, or into a
// failure. Pure.
import type { PolicyDecision, PolicyFailure } from '../model.ts'
import { remembered } from '../memo.ts'
import { isObject } from '../wire/json.ts'

const FIELDS = [
  'version',
  'allow',
  'reasons',
  'required_scopes',
  'obligations',
  'max_entitlement_age_s',
  'grants',
] as const

const CODE = /^[a-z0-9_]{1,64}$/

const texts = (value: unknown): boolean =>
  Array.isArray(value) && value.every((item) => typeof item === 'string')

/** What is wrong with a decision document of version 1; null: nothing. */
const oddity = (value: unknown): string | null => {
  if (!isObject(value)) return 'it is not an object'
  for (const field of FIELDS) if (!Object.hasOwn(value, field)) return `${field} is missing`
  // A field nobody knows may be an obligation misspelt: nothing is dropped in silence.
  for (const key of Object.keys(value))
    if (!FIELDS.some((field) => field === key)) return `${JSON.stringify(key)} is not a field`
  const { allow, reasons, obligations, max_entitlement_age_s: age } = value
  if (value['version'] !== 1) return 'version is not 1'
  if (typeof allow !== 'boolean') return 'allow is not a boolean'
  if (!Array.isArray(reasons)) return 'reasons is not a list'
  for (const reason of reasons)
    if (
      !isObject(reason) ||
      typeof reason['code'] !== 'string' ||
      !CODE.test(reason['code']) ||
      typeof reason['msg'] !== 'string'
    )
      return 'a reason is not {code, msg}'
  if (allow && reasons.length > 0) return 'it allows and gives reasons against it'
  if (!texts(value['required_scopes'])) return 'required_scopes is not a list of texts'
  if (!texts(value['grants'])) return 'grants is not a list of texts'
  if (typeof age !== 'number' || !Number.isFinite(age) || age < 0)
    return 'max_entitlement_age_s is not a number of seconds'
  if (!isObject(obligations)) return 'obligations is not an object'
  for (const obligation of Object.values(obligations))
    if (
      !isObject(obligation) ||
      typeof obligation['type'] !== 'string' ||
      !isObject(obligation['properties'])
    )
      return 'an obligation is not {type, properties}'
  return null
}

const freeze = <T>(value: T): T => {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) freeze(inner)
    Object.freeze(value)
  }
  return value
}

/** Result set of the entry point, as JSON text → frozen decision or failure. */
export const readAnswer = (text: string): PolicyDecision | PolicyFailure => {
  let results: unknown
  try {
    results = JSON.parse(text)
  } catch {
    return { failed: 'policy_malformed', detail: 'the answer is not JSON' }
  }
  const first: unknown = Array.isArray(results) && results.length === 1 ? results[0] : undefined
  if (!isObject(first) || !Object.hasOwn(first, 'result'))
    return { failed: 'policy_undefined', detail: 'the policy gave no decision' }
  const odd = oddity(first['result'])
  return odd === null
    ? freeze(first['result'] as PolicyDecision)
    : { failed: 'policy_malformed', detail: `the decision is malformed: ${odd}` }
}

const REMEMBERED = 1000
const LONGEST = 16_384

/**
 * `readAnswer` with a memory: most calls get one of few answers, and equal texts are equal decisions. This remembers
 * how a text reads, never what a call was answered.
 */
export const createReader = (): ((text: string) => PolicyDecision | PolicyFailure) =>
  remembered(readAnswer, REMEMBERED, LONGEST)
