// Answers of an MCP server: whose they are, and of what they list the part that this person may call.
import { Problem } from '../problem.ts'
import { exactly, isObject, parseStrict } from '../wire/json.ts'
import { folded, MEMBERS } from './jsonrpc.ts'

/** May this member of such a list be seen? Tools and prompts by their name, the others by their URI. */
export type Listed = Readonly<
  Record<'tools' | 'prompts' | 'resources' | 'resourceTemplates', (name: string) => boolean>
>
const NAMES: Readonly<Record<keyof Listed, string>> = {
  tools: 'name',
  prompts: 'name',
  resources: 'uri',
  resourceTemplates: 'uriTemplate',
}
const KEYS = ['tools', 'prompts', 'resources', 'resourceTemplates'] as const

const unreadable = (detail: string): Problem => new Problem('answer_not_redactable', detail)

/** What lists is read strictly; of the rest only its id matters, and what no client can read passes as it is. */
const parsed = (text: string, strict: boolean): unknown => {
  try {
    return strict ? parseStrict(text) : JSON.parse(text)
  } catch {
    if (!strict) return undefined
    throw unreadable('the MCP server’s answer is not JSON with one reading')
  }
}

/**
 * One message of a server: the text as it came, or without what may not be seen.
 * @param id of the request that it should answer; null: of a stream, which repeats answers to earlier ones
 * @param listed null: nothing is listed, and only the id is looked at
 * @throws Problem answer_not_redactable
 */
export const shownMessage = (
  text: string,
  id: string | number | null,
  listed: Listed | null,
): string => {
  const value = parsed(text, listed !== null)
  if (value === undefined) return text
  if (!isObject(value)) throw unreadable('the MCP server’s answer is no JSON-RPC message')
  // Clients written in some languages fold case: they would read a result that nobody has looked at.
  const odd = Object.keys(value).find((key) => !MEMBERS.has(key) && MEMBERS.has(folded(key)))
  if (odd !== undefined)
    throw unreadable('the MCP server’s answer spells a member of JSON-RPC in two ways')
  const answers = !Object.hasOwn(value, 'method')
  if (
    answers &&
    id !== null &&
    value['id'] !== id &&
    !(value['id'] == null && Object.hasOwn(value, 'error'))
  )
    throw unreadable('the MCP server answered another request')
  const { result } = value
  if (listed === null || !isObject(result)) return text
  // Servers written in some languages fold case, and so may clients.
  const lists = Object.keys(result).flatMap((key) => {
    const known = KEYS.find((one) => folded(one) === folded(key))
    return known === undefined ? [] : [[key, known] as const]
  })
  if (lists.length === 0) return text
  const whole = JSON.parse(text, exactly) as { result: Record<string, unknown> }
  for (const [key, known] of lists) {
    const all = whole.result[key]
    if (!Array.isArray(all)) throw unreadable('what the MCP server lists is no list')
    whole.result[key] = all.filter((one: unknown) => {
      const name = isObject(one) ? one[NAMES[known]] : undefined
      return typeof name === 'string' && listed[known](name)
    })
  }
  // What one person sees is nobody else's.
  if (whole.result['cacheScope'] === 'public') whole.result['cacheScope'] = 'private'
  return JSON.stringify(whole)
}
