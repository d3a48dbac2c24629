// Puts deputy's refusal into the vendor's own error shape, because a vendor's client shows one
// member of that shape and nothing else.
import type { Json } from '../model.ts'
import type { ProblemDocument } from '../problem.ts'
import { statusName } from './grpc.ts'

/**
 * What a template may name (`providers/definition` refuses others). `{status}` alone stays a
 * number.
 */
const wordsOf = (document: ProblemDocument): Readonly<Record<string, string | number>> => ({
  detail: document.detail,
  code: document.code,
  CODE: document.code.toUpperCase(),
  status: document.status,
  grpc: statusName(document.status),
  type: document.type,
  title: document.title,
  instance: document.instance,
})

const fill = (template: Json, words: Readonly<Record<string, string | number>>): unknown => {
  if (typeof template === 'string') {
    const alone = /^\{(\w+)\}$/.exec(template)?.[1]
    if (alone !== undefined) return words[alone] ?? template
    return template.replaceAll(/\{(\w+)\}/g, (all, word: string) => String(words[word] ?? all))
  }
  if (Array.isArray(template)) return template.map((one: Json) => fill(one, words))
  if (typeof template !== 'object' || template === null) return template
  return Object.fromEntries(Object.entries(template).map(([key, one]) => [key, fill(one, words)]))
}

/**
 * The document in the vendor's shape, with our members beside the vendor's; in a list, beside those
 * of its first element. Where both have a member of one name the vendor's client reads its own:
 * `Deputy-Answer` has the code.
 */
export const inShape = (template: Json, document: ProblemDocument): unknown => {
  const shaped = fill(template, wordsOf(document))
  if (Array.isArray(shaped)) {
    const [first, ...rest] = shaped as readonly object[]
    return [{ ...document, ...first }, ...rest]
  }
  return { ...document, ...(shaped as object) }
}
