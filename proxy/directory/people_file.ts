// The file of people, read row by row where it is long: the tree of a whole YAML document takes eight kilobytes a person,
// and nobody else gets a turn while it is made.
import { setImmediate as turn } from 'node:timers/promises'
import { parseDocument } from 'yaml'
import { z } from 'zod'
import { inYaml, withLines } from '../config/lines.ts'
import { meant, saying } from '../mistakes.ts'
import type { Entitlements } from '../model.ts'
import { parseStrict } from '../wire/json.ts'
import { factsDigest, keyOf } from './source.ts'

const list = z.array(z.string().min(1)).default([])
const auth = z.strictObject({
  acr: z.string().optional(),
  amr: list,
  age_s: z.number().int().min(0).optional(),
})
const person = z.strictObject({
  id: z.string().min(1),
  realm: z.string().optional(),
  tenant: z.string().optional(),
  active: z.boolean().default(true),
  groups: list,
  roles: list,
  entitlements: list,
  manager: z.string().min(1).optional(),
  auth: auth.optional(),
})
const schema = z.strictObject({ people: z.array(person) })
const KEYS = [schema, person, auth].flatMap(({ shape }) => Object.keys(shape))
const said = saying((_, key) => meant(key, KEYS))
type Row = z.infer<typeof schema>['people'][number]

/** Characters; a shorter text is read at once. */
const LONG = 256 * 1024
/** Rows that are read before others get a turn. */
const STRETCH = 500

type Place = {
  /** For the errors. */
  readonly path: string
  /** Realm of rows that name none. */
  readonly realm: string
  /** ms since the epoch, of which `age_s` is counted back. */
  readonly now: number
}

type Whole = { readonly file: string; readonly text: string }
/** @param from number of the first row */
const checked = (value: unknown, from: number, whole: Whole): readonly Row[] => {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data.people
  const problems = parsed.error.issues.flatMap((issue) => {
    const [list, row, ...rest] = issue.path
    const path = typeof row === 'number' ? [list ?? '', row + from, ...rest] : issue.path
    return said({ ...issue, path }).map((problem) => problem.replace(/^configuration: /, ''))
  })
  const { file, text } = whole
  // A long text would hold up everybody else: its rows are numbered.
  const told = text.length < LONG ? withLines(text, problems) : problems
  throw new Error(told.map((problem) => `${file}: ${problem}`).join('\n'))
}
const treeOf = (text: string, file: string): unknown => {
  const document = parseDocument(text, { uniqueKeys: true })
  const broken = document.errors[0]
  if (broken !== undefined) throw new Error(`${file}${inYaml(broken)}`)
  return document.toJS({ maxAliasCount: 100 })
}
/** JSON is YAML, and is read many times as fast. undefined: it is none. */
const jsonOf = (text: string): unknown => {
  try {
    return parseStrict(text)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** `people:` alone on its line, and items that begin at one indentation; not several documents. */
const HEAD = /^(?:[ \t]*(?:#[^\n]*)?\n)*people:[ \t]*(?:#[^\n]*)?\n(?:[ \t]*(?:#[^\n]*)?\n)*( *)- /
const APART = /^(?:---|\.\.\.)/m

type Slice = { readonly text: string; readonly line: number; readonly rows: number }
/** Whole items of the list, so many at a time; none: the text is written in another way. */
const slicesOf = function* (text: string): Generator<Slice> {
  const head = APART.test(text) ? null : HEAD.exec(text)
  if (head === null) return
  const indent = head[1] ?? ''
  const mark = `\n${indent}- `
  let line = head[0].split('\n').length - 1
  let start = head[0].length - indent.length - 2
  while (start < text.length) {
    let end = start
    let rows = 0
    for (; rows < STRETCH && end !== -1; rows += 1) end = text.indexOf(mark, end + 1)
    const slice = text.slice(start, end === -1 ? text.length : end + 1)
    yield { text: slice, line, rows }
    line += slice.split('\n').length - 1
    start += slice.length
  }
}
/** Items that are JSON, one a line. undefined: they are not. */
const linesOf = ({ text }: Slice): unknown => {
  const lines = text.trimEnd().split('\n')
  const items = lines.map((line) => line.trimStart())
  return items.every((item) => item.startsWith('- {'))
    ? jsonOf(`[${items.map((item) => item.slice(2)).join()}]`)
    : undefined
}

/**
 * The rows of the file, in its order, some at a time. What is known of a text that is refused later counts for nothing.
 * @throws Error that says what is wrong, and where
 */
const rowsOf = async function* (text: string, file: string): AsyncGenerator<readonly Row[]> {
  const whole = text.startsWith('{') ? jsonOf(text) : undefined
  let read = 0
  if (whole === undefined && text.length >= LONG)
    for (const slice of slicesOf(text)) {
      // The lines before it are there for the errors, which name a line.
      const items = linesOf(slice) ?? treeOf('\n'.repeat(slice.line) + slice.text, file)
      yield checked({ people: items }, read, { file, text })
      read += slice.rows
      await turn()
    }
  if (read === 0) yield checked(whole ?? treeOf(text, file), 0, { file, text })
}

/**
 * What the file says, by `keyOf` a person. Others get their turn meanwhile where it is long.
 * @throws Error that says what is wrong, and where
 */
export const readPeople = async (
  text: string,
  place: Place,
): Promise<ReadonlyMap<string, Entitlements>> => {
  const people = new Map<string, Entitlements>()
  /** Most people have what many others have: it is kept once. */
  const shared = new Map<string, Entitlements>()
  const add = ({ id, realm = place.realm, tenant = 'default', auth, manager, ...facts }: Row) => {
    const key = keyOf({ tenant, realm, id })
    if (people.has(key)) throw new Error(`${place.path}: ${id} is listed twice`)
    const same = JSON.stringify([facts.active, facts.groups, facts.roles, facts.entitlements])
    const alike = shared.get(same) ?? {
      ...facts,
      auth: null,
      source: 'file',
      digest: factsDigest(facts),
      asOf: null,
    }
    shared.set(same, alike)
    const { acr = null, amr = [], age_s } = auth ?? {}
    const at = age_s === undefined ? null : place.now - age_s * 1_000
    people.set(
      key,
      auth === undefined && manager === undefined
        ? alike
        : {
            ...alike,
            ...(manager === undefined ? {} : { manager }),
            auth: auth === undefined ? null : { acr, amr, at },
          },
    )
  }
  try {
    for await (const rows of rowsOf(text, place.path)) for (const row of rows) add(row)
    return people
  } catch (error) {
    // An alias of an anchor in rows far above: only the whole text knows it.
    if (!(error instanceof ReferenceError)) throw error
    people.clear()
    const all = checked(treeOf(text, place.path), 0, { file: place.path, text })
    for (const row of all) add(row)
    return people
  }
}
