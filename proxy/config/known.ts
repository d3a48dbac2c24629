// A key that is none: which one was meant, or where it belongs.
import { z } from 'zod'
import { meant } from '../mistakes.ts'

/** What an optional schema, one with a default or one that changes the form is about. */
const inside = (schema: z.core.$ZodType): z.core.$ZodType => {
  // One that is put into shape first is about what comes of that.
  if (schema instanceof z.ZodPipe)
    return inside(schema.def.in instanceof z.ZodTransform ? schema.def.out : schema.def.in)
  return schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
    ? inside(schema.def.innerType)
    : schema
}

type Section = { readonly path: readonly string[]; readonly keys: readonly string[] }
/** Every section of the schema: `*` stands for a name and for a place in a list. */
const sections = (schema: z.core.$ZodType, path: readonly string[] = []): readonly Section[] => {
  const of = inside(schema)
  if (of instanceof z.ZodUnion) return of.options.flatMap((each) => sections(each, path))
  if (of instanceof z.ZodArray) return sections(of.element, [...path, '*'])
  if (of instanceof z.ZodRecord) return sections(of.valueType, [...path, '*'])
  if (!(of instanceof z.ZodObject)) return []
  const below = Object.entries(of.shape).flatMap(([key, each]) => sections(each, [...path, key]))
  return [{ path, keys: Object.keys(of.shape) }, ...below]
}

/** More places than these say nothing. */
const MOST_PLACES = 3
/**
 * @param at the section in which `key` stands, as it was written
 * @returns `: is NAME meant?`, `: it belongs under SECTION`, or nothing. Pure.
 */
export const knownElsewhere = (
  schema: z.core.$ZodType,
  at: readonly PropertyKey[],
  key: string,
): string => {
  const all = sections(schema)
  const here = ({ path }: Section): boolean =>
    path.length === at.length && path.every((step, i) => step === '*' || step === String(at[i]))
  const slip = meant(key, new Set(all.filter(here).flatMap(({ keys }) => keys)))
  if (slip !== '') return slip
  const places = new Set(
    all
      .filter(({ keys }) => keys.includes(key))
      .map(({ path }) => path.join('.').replaceAll('*', 'NAME')),
  )
  if (places.size === 0 || places.size > MOST_PLACES) return ''
  return `: it belongs ${Array.from(places, (place) => (place === '' ? 'at the left edge, in no section' : `under ${place}`)).join(', or ')}`
}
