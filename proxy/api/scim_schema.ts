// What a user and a group of SCIM have (RFC 7643), and what comes in and goes out of it.
import { Schemas } from 'scimmy'
import { ScimError } from './scim_error.ts'

export type Kind = 'User' | 'Group'
export type Attribute = {
  readonly name: string
  readonly type: string
  readonly multiValued: boolean
  readonly required?: boolean
  readonly caseExact?: boolean
  readonly mutability?: string
  readonly returned?: string
  readonly uniqueness?: string
  readonly subAttributes?: readonly Attribute[]
}
export type Schema = {
  readonly id: string
  readonly name: string
  readonly description: string
  readonly attributes: readonly Attribute[]
}
export type Tree = Readonly<Record<string, unknown>>

export const URN = {
  User: 'urn:ietf:params:scim:schemas:core:2.0:User',
  Group: 'urn:ietf:params:scim:schemas:core:2.0:Group',
  Enterprise: 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User',
} as const
export const URNS: readonly string[] = Object.values(URN)

const described = (definition: { readonly describe: () => unknown }): Schema =>
  JSON.parse(JSON.stringify(definition.describe())) as Schema
const { User, Group, EnterpriseUser } = Schemas
/** What deputy makes of it: names are unique, and passwords are no business of it. */
const ours = (schema: Schema): Schema => ({
  ...schema,
  attributes: schema.attributes
    .filter(({ name }) => name !== 'password')
    .map((each) => {
      if (schema.id !== URN.Group) return each
      if (each.name === 'displayName') return { ...each, required: true, uniqueness: 'server' }
      // A member is called as it is called, whatever a client says (RFC 7643 8.7.1 has no `display` either).
      const subAttributes = each.subAttributes?.filter(({ name }) => name !== 'display')
      return subAttributes === undefined ? each : { ...each, subAttributes }
    }),
})
export const SCHEMAS: readonly Schema[] = [
  ours(described(User.definition)),
  ours(described(Group.definition)),
  described(EnterpriseUser.definition),
]
const schemaOf = (urn: string): Schema | undefined => SCHEMAS.find(({ id }) => id === urn)

const text = (name: string, more: Partial<Attribute> = {}): Attribute => ({
  name,
  type: 'string',
  multiValued: false,
  caseExact: true,
  mutability: 'readWrite',
  returned: 'default',
  ...more,
})
/** Of every resource. */
const COMMON: readonly Attribute[] = [
  text('id', { mutability: 'readOnly', returned: 'always' }),
  text('externalId'),
  text('schemas', { multiValued: true, returned: 'always', caseExact: false }),
  {
    ...text('meta', { mutability: 'readOnly' }),
    type: 'complex',
    subAttributes: [
      text('resourceType'),
      text('created', { type: 'dateTime' }),
      text('lastModified', { type: 'dateTime' }),
      text('location'),
      text('version'),
    ],
  },
]
const named = (list: readonly Attribute[], name: string): Attribute | null =>
  list.find((each) => each.name.toLowerCase() === name.toLowerCase()) ?? null

export const attributesOf = (kind: Kind, urn: string | null): readonly Attribute[] =>
  urn === URN.Enterprise
    ? kind === 'User'
      ? (schemaOf(urn)?.attributes ?? [])
      : []
    : urn !== null && urn !== URN[kind]
      ? []
      : [...COMMON, ...(schemaOf(URN[kind])?.attributes ?? [])]
/** @param parent of a sub-attribute; null: it is one of the resource itself */
export const attributeOf = (
  kind: Kind,
  urn: string | null,
  parent: Attribute | null,
  name: string,
): Attribute | null => named(parent?.subAttributes ?? (parent ? [] : attributesOf(kind, urn)), name)

export const treeOf = (value: unknown): Tree | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Tree) : null

const single = (value: unknown, attribute: Attribute, at: string): unknown => {
  const wrong = (want: string): ScimError =>
    new ScimError(400, 'invalidValue', `${at}: must be ${want}`)
  switch (attribute.type) {
    case 'boolean':
      if (typeof value === 'boolean') return value
      // Entra ID writes "True" and "False".
      if (typeof value === 'string' && /^(?:true|false)$/i.test(value))
        return value.toLowerCase() === 'true'
      throw wrong('true or false')
    case 'integer':
    case 'decimal':
      if (typeof value === 'number') return value
      throw wrong('a number')
    case 'complex': {
      const tree = treeOf(value)
      if (tree !== null) return complex(tree, attribute.subAttributes ?? [], at)
      // A manager, a role or a member is often given as its bare value.
      if (typeof value === 'string' && named(attribute.subAttributes ?? [], 'value') !== null)
        return { value }
      throw wrong('an object')
    }
    case 'dateTime':
      if (typeof value === 'string' && !Number.isNaN(Date.parse(value))) return value
      throw wrong('a date and time')
    default:
      if (typeof value === 'string') return value
      if (typeof value === 'number') return String(value)
      throw wrong('text')
  }
}
const MOST_VALUES = 200
/** One attribute's value as the schema has it; undefined: there is none. */
export const valueOf = (value: unknown, attribute: Attribute, at: string): unknown => {
  if (value === null || value === undefined) return undefined
  if (!attribute.multiValued) {
    // Some clients wrap one value in a list.
    const [only, ...more] = Array.isArray(value) ? value : [value]
    if (more.length > 0 || only === undefined)
      throw new ScimError(400, 'invalidValue', `${at}: must be one value`)
    return single(only, attribute, at)
  }
  const list = Array.isArray(value) ? value : [value]
  if (list.length > MOST_VALUES && attribute.name !== 'members')
    throw new ScimError(400, 'tooMany', `${at}: has more than ${MOST_VALUES} values`)
  if (list.length === 0) return undefined
  return list.map((each, i) => single(each, attribute, `${at}[${i}]`))
}
/** What is not known or not writable is left out, as RFC 7644 3.3 has it. */
const complex = (tree: Tree, attributes: readonly Attribute[], at: string): Tree => {
  const made: [string, unknown][] = []
  const seen = new Set<string>()
  for (const [name, value] of Object.entries(tree)) {
    const attribute = named(attributes, name)
    if (attribute === null || attribute.mutability === 'readOnly') continue
    if (seen.has(attribute.name))
      throw new ScimError(400, 'invalidSyntax', `${at}${attribute.name}: is there twice`)
    seen.add(attribute.name)
    const clean = valueOf(value, attribute, at === '' ? attribute.name : `${at}.${attribute.name}`)
    if (clean !== undefined) made.push([attribute.name, clean])
  }
  return Object.fromEntries(made)
}
/** A resource as a client sent it, in the names and types of the schema. @throws ScimError */
export const resourceOf = (kind: Kind, body: unknown): Tree => {
  const tree = treeOf(body)
  if (tree === null) throw new ScimError(400, 'invalidSyntax', 'the body must be a JSON object')
  const core = complex(tree, attributesOf(kind, null), '')
  const { schemas: _, ...rest } = core
  const extension = Object.entries(tree).find(
    ([name]) => name.toLowerCase() === URN.Enterprise.toLowerCase(),
  )?.[1]
  if (kind !== 'User' || extension === undefined || extension === null) return rest
  const inner = treeOf(extension)
  if (inner === null)
    throw new ScimError(400, 'invalidValue', `${URN.Enterprise}: must be an object`)
  const made = complex(inner, attributesOf('User', URN.Enterprise), '')
  return Object.keys(made).length === 0 ? rest : { ...rest, [URN.Enterprise]: made }
}

export type Shown = { readonly only: readonly string[] | null; readonly without: readonly string[] }
const bare = (name: string): string => {
  const urn = [URN.User, URN.Group].find((each) =>
    name.toLowerCase().startsWith(`${each.toLowerCase()}:`),
  )
  return name.slice(urn === undefined ? 0 : urn.length + 1).toLowerCase()
}
export const shownOf = (attributes: string | undefined, excluded: string | undefined): Shown => {
  const list = (value: string): readonly string[] =>
    value
      .split(',')
      .map((name) => bare(name.trim()))
      .filter((name) => name !== '')
  if (attributes !== undefined && excluded !== undefined)
    throw new ScimError(400, 'invalidValue', 'attributes and excludedAttributes exclude each other')
  return {
    only: attributes === undefined ? null : list(attributes),
    without: excluded === undefined ? [] : list(excluded),
  }
}
const ALWAYS: ReadonlySet<string> = new Set(['id', 'schemas'])
export const shows = (shown: Shown, name: string): boolean => {
  const wanted = name.toLowerCase()
  if (ALWAYS.has(name)) return true
  if (shown.only === null) return !shown.without.includes(wanted)
  return shown.only.some(
    (each) => each === wanted || each.startsWith(`${wanted}.`) || each.startsWith(`${wanted}:`),
  )
}
const inner = (shown: Shown, name: string, value: unknown): unknown => {
  const tree = treeOf(value)
  if (Array.isArray(value)) return value.map((each) => inner(shown, name, each))
  if (tree === null) return value
  const prefixes = ['.', ':'].map((mark) => `${name.toLowerCase()}${mark}`)
  const subs = (list: readonly string[]): readonly string[] =>
    list.flatMap((each) =>
      prefixes.flatMap((prefix) =>
        each.startsWith(prefix) ? (each.slice(prefix.length).split('.')[0] ?? []) : [],
      ),
    )
  const [only, without] = [subs(shown.only ?? []), subs(shown.without)]
  const whole = shown.only === null || shown.only.includes(name.toLowerCase())
  return Object.fromEntries(
    Object.entries(tree).filter(
      ([sub]) =>
        (whole || only.includes(sub.toLowerCase())) && !without.includes(sub.toLowerCase()),
    ),
  )
}
/** What the client asked to see of it. */
export const projected = (shown: Shown, tree: Tree): Tree =>
  Object.fromEntries(
    Object.entries(tree).flatMap(([name, value]) =>
      shows(shown, name)
        ? [[name, ALWAYS.has(name) ? value : inner(shown, name, value)] as const]
        : [],
    ),
  )
