// Reads the members of types out of a package's declarations, as far as their printers write them: no compiler needed.
import { short, type Parameter } from './found.ts'

/** Name → what stands behind it, up to where the next declaration of the file begins. */
export type Declared = ReadonlyMap<string, string>

export const declared = (sources: readonly string[]): Declared => {
  const found = new Map<string, string>()
  for (const source of sources)
    for (const part of source.split(/^(?=(?:export )?(?:declare )?(?:interface|type) )/m)) {
      const name = /^(?:export )?(?:declare )?(?:interface|type) (\w+)/.exec(part)
      if (name?.[1] !== undefined) found.set(name[1], part.slice(name[0].length))
    }
  return found
}

const SCALAR: Readonly<Record<string, string>> = {
  number: 'number',
  boolean: 'boolean',
  string: 'string',
  Int: 'integer',
  Float: 'number',
  Boolean: 'boolean',
}
/** The type of JSON Schema that a written type means; what has a name of its own is an object. */
const jsonTypeOf = (written: string): string => {
  const bare = written
    .replaceAll(/^(?:Input)?Maybe<(.*)>$/g, '$1')
    .replaceAll(/Scalars\["(\w+)"\](?:\["\w+"\])?/g, '$1')
    .trim()
  const array = /^(?:Array<(.*)>|\[(\w+)[^\]]*\]|\(?(.*?)\)?\[\])$/.exec(bare)
  if (array !== null) {
    const inner = jsonTypeOf(array[1] ?? array[2] ?? array[3] ?? '')
    return `${inner.endsWith('[]') ? 'object' : inner}[]`
  }
  if (SCALAR[bare] !== undefined) return SCALAR[bare]
  return /^['"]|^[A-Z]\w*Id$|^(?:ID|String|DateTime|TimelessDate|UUID|JSON|Date|Duration|DateTimeOrDuration|TimelessDateOrDuration)$/.test(
    bare,
  )
    ? 'string'
    : 'object'
}

const MEMBER =
  /(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*)?^ *(?:readonly )?['"]?(\w+)['"]?(\?)?: ((?:[^;{}]|\{[^{}]*\})*);/gm
const ofText = (text: string, optional: boolean): readonly Parameter[] =>
  [...text.matchAll(MEMBER)].map(([, doc = '', name = '', may, written = '']) => ({
    name,
    in: 'body',
    type: jsonTypeOf(written),
    required: may === undefined && !optional,
    description: short(
      doc
        .replaceAll(/^\s*\* ?/gm, '')
        .replace(/^[\s\S]*@description/, '')
        .replace(/@\w+[\s\S]*$/, ''),
    ),
  }))

/** All members of a type: its own, and those of the types that it names outside of its braces; behind `|` or Partial<> none is needed. */
export const membersOf = (name: string, all: Declared, depth = 0): readonly Parameter[] => {
  const body = all.get(name)
  if (body === undefined || depth > 6) return []
  const open = body.search(/\{/)
  const head = (open === -1 ? body : body.slice(0, open)) + body.replaceAll(/\{[\s\S]*?^\}/gm, ' ')
  const loose = head.includes('|') && !/^\s*=\s*OptionalArgument<[^|]*> \| undefined/.test(head)
  const inherited = [...new Set(head.match(/\b[A-Z]\w+\b/g))].flatMap((other) =>
    other === name
      ? []
      : membersOf(other, all, depth + 1).map((member) => ({
          ...member,
          required: member.required && !loose && !head.includes(`Partial<${other}>`),
        })),
  )
  const own = ofText(open === -1 ? '' : body.slice(open + 1), loose)
  return [...new Map([...inherited, ...own].map((member) => [member.name, member])).values()]
}
