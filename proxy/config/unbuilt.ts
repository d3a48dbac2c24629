// Parts of the contract that this version does not carry out: marked in the schema itself, refused, never ignored.
import { z } from 'zod'

/** What is not there, for a value as it was written; null: this value is carried out. */
type Unbuilt = { readonly what: (value: unknown) => string | null }
const marks = z.registry<Unbuilt>()

/** Marks one key of the schema; whoever builds what it names takes the mark away. */
export const unbuilt = <T extends z.ZodType>(
  schema: T,
  what: string | ((value: unknown) => string | null),
): T => {
  const own = schema.clone() // one schema may stand at many keys
  marks.add(own, { what: typeof what === 'string' ? () => what : what })
  return own
}

/** What an optional schema, one with a default or one that changes the form is about; null: it is neither. */
const within = (schema: z.core.$ZodType): z.core.$ZodType | null => {
  // One that is put into shape first is about what comes of that.
  if (schema instanceof z.ZodPipe)
    return schema.def.in instanceof z.ZodTransform ? schema.def.out : schema.def.in
  return schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
    ? schema.def.innerType
    : null
}
export const inside = (schema: z.core.$ZodType): z.core.$ZodType => {
  const next = within(schema)
  return next === null ? schema : inside(next)
}
const markOf = (schema: z.core.$ZodType | null): Unbuilt | undefined =>
  schema === null ? undefined : (marks.get(schema as z.ZodType) ?? markOf(within(schema)))

export const isUnbuilt = (schema: z.core.$ZodType): boolean => markOf(schema) !== undefined

const isTree = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null

/** `path: message` for everything in `raw`, the configuration as it was written, that is marked. Pure. */
export const refusals = (schema: z.core.$ZodType, raw: unknown, path = ''): readonly string[] => {
  if (raw === undefined) return []
  const what = markOf(schema)?.what(raw) ?? null
  if (what !== null) return [`${path}: ${what} is not built in this version of deputy: remove it`]
  const of = inside(schema)
  const under = (key: string): string => (path === '' ? key : `${path}.${key}`)
  if (of instanceof z.ZodUnion) return of.options.flatMap((each) => refusals(each, raw, path))
  if (!isTree(raw)) return []
  const valueOf = (key: string): z.core.$ZodType | undefined =>
    of instanceof z.ZodObject
      ? of.shape[key]
      : of instanceof z.ZodArray
        ? of.element
        : of instanceof z.ZodRecord
          ? of.valueType
          : undefined
  return Object.entries(raw).flatMap(([key, value]) => {
    const next = valueOf(key)
    return next === undefined ? [] : refusals(next, value, under(key))
  })
}
