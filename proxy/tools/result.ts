// What a tool's answers become: what is kept of them, cut to what a model can read, and how to go on. Pure.
import type { Json, JsonObject } from '../model.ts'
import { atPointer, isObject } from '../wire/json.ts'
import type { Input, Keep, Tool } from './definition.ts'
import { readMail } from './mail.ts'
import { filled, type Given } from './template.ts'

/** What is kept of `whole`; undefined: it has nothing there. */
export const kept = (keep: Keep, whole: Json, given: Given): Json | undefined => {
  switch (keep.kind) {
    case 'at':
      return atPointer(whole, keep.at) as Json | undefined
    case 'value':
      return filled(keep.of, given)
    case 'mail':
      return readMail(atPointer(whole, keep.at))
    case 'each': {
      const list = atPointer(whole, keep.at)
      if (!Array.isArray(list)) return undefined
      return (list as readonly Json[]).flatMap((one) => {
        const value = kept(keep.keep, one, { ...given, item: one })
        return value === undefined ? [] : [value]
      })
    }
    case 'members':
    default:
      return Object.fromEntries(
        keep.members.flatMap(([name, each]) => {
          const value = kept(each, whole, given)
          return value === undefined ? [] : [[name, value] as const]
        }),
      )
  }
}

type SizeOf = (value: Json) => number
const bytesOf: SizeOf = (value) => Buffer.byteLength(JSON.stringify(value))
/** The same, each list and object measured once: what is nested is asked again at every level. */
const createSizes = (): SizeOf => {
  const known = new Map<object, number>()
  const sizeOf: SizeOf = (value) => {
    if (typeof value !== 'object' || value === null) return bytesOf(value)
    const before = known.get(value)
    if (before !== undefined) return before
    const members = Array.isArray(value)
      ? (value as readonly Json[]).map(sizeOf)
      : Object.entries(value).map(([name, each]) => bytesOf(name) + 1 + sizeOf(each))
    const size = members.reduce((sum, each) => sum + each + 1, members.length === 0 ? 2 : 1)
    known.set(value, size)
    return size
  }
  return sizeOf
}

const shorter = (text: string, bytes: number): string => {
  const cut = Buffer.from(text).subarray(0, Math.max(0, bytes - 6))
  // Half a character at the cut is left out.
  return `${new TextDecoder().decode(cut, { stream: true })}…`
}
const within = (value: Json, bytes: number, sizeOf: SizeOf): Json => {
  if (sizeOf(value) <= bytes) return value
  if (typeof value === 'string') {
    let room = bytes
    // Escapes take more than the text.
    while (room > 8 && bytesOf(shorter(value, room)) > bytes) room = Math.floor(room * 0.75)
    return shorter(value, room)
  }
  if (Array.isArray(value)) {
    const list: Json[] = []
    let left = bytes - 2
    for (const one of value as readonly Json[]) {
      const size = sizeOf(one) + 1
      if (size > left) {
        const part = list.length === 0 && left > 64 ? within(one, left - 1, sizeOf) : null
        if (part !== null && sizeOf(part) < left) list.push(part)
        break
      }
      list.push(one)
      left -= size
    }
    return list
  }
  if (!isObject(value)) return value
  const all = Object.entries(value)
  const sized = all
    .map(([name, each]) => ({ name, each, key: bytesOf(name) + 2, size: sizeOf(each) }))
    .toSorted((a, b) => a.size - b.size)
  let left = bytes - 2
  const fit = new Map<string, Json>()
  sized.forEach(({ name, each, key }, i) => {
    const share = Math.floor(left / (sized.length - i)) - key
    const one = share <= 8 ? each : within(each, share, sizeOf)
    if (sizeOf(one) > share) return
    fit.set(name, one)
    left -= key + sizeOf(one)
  })
  return Object.fromEntries(
    all.flatMap(([name]) => {
      const one = fit.get(name)
      return one === undefined ? [] : [[name, one] as const]
    }),
  )
}
/**
 * The same within so many bytes of JSON, as much of it as goes in: the end of lists and of long texts is left out, and
 * members that are short stay whole.
 */
export const fitted = (value: Json, bytes: number): Json => {
  // Nearly all fits: measured whole it costs less than each part by itself.
  const text = JSON.stringify(value)
  if (Buffer.byteLength(text) > bytes) return within(value, bytes, createSizes())
  if (isObject(value)) written.set(value, text)
  return value
}

/** What was written to be measured needs no second writing. */
const written = new WeakMap<object, string>()
/** A result as JSON. */
export const jsonOf = (value: JsonObject): string => written.get(value) ?? JSON.stringify(value)

const asInput = (value: Json, { type }: Pick<Input, 'type'>): Json | undefined => {
  if (value === null || value === '') return undefined
  if (type !== 'integer' && type !== 'number') return value
  const number = Number(value)
  return Number.isFinite(number) ? number : undefined
}
/** The arguments that are to be repeated with for what follows; null: nothing follows. */
export const nextOf = (
  { next, input }: Pick<Tool, 'next' | 'input'>,
  given: Given,
): JsonObject | null => {
  const members = next.flatMap(([name, template]) => {
    const value = filled(template, given)
    const one = input.find((each) => each.name === name)
    const said = value === undefined || one === undefined ? undefined : asInput(value, one)
    return said === undefined ? [] : [[name, said] as const]
  })
  return members.length === 0 ? null : Object.fromEntries(members)
}
