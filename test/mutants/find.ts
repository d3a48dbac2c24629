// Where could a check be taken out of a source, one at a time? Read from its syntax tree.
import { parseAst } from 'vitest/node'
import { isFunction, isNode, nodesOf, type Node } from '../support/syntax.ts'

export type Mutant = {
  /** Below proxy/. */
  readonly path: string
  readonly line: number
  /** What was taken out and where, by the code's own text, so that it stays true when lines move. */
  readonly what: string
  /** The whole source without the check. */
  readonly text: string
}

const nodeOf = (value: unknown): Node | null => (isNode(value) ? value : null)

/** `foo` of `const foo = …`, `function foo`, `{ foo: () => … }`. */
const nameOf = (node: Node, inFunction: boolean): string | null => {
  const named = nodeOf(node['id'] ?? node['key'])
  const value = nodeOf(node['init'] ?? node['value'])
  const names = node.type === 'FunctionDeclaration' || (value !== null && isFunction(value))
  const list = node.type === 'VariableDeclarator' && !inFunction
  return (names || list) && named?.type === 'Identifier' ? String(named['name']) : null
}

/** `a && b && c` → its three. */
const operands = (node: Node, operator: unknown): readonly Node[] =>
  node.type === 'LogicalExpression' && node['operator'] === operator
    ? [node['left'], node['right']].flatMap(nodesOf).flatMap((one) => operands(one, operator))
    : [node]
const BOUNDS: ReadonlyMap<unknown, string> = new Map([
  ['<', '<='],
  ['<=', '<'],
  ['>', '>='],
  ['>=', '>'],
])
/** What these say of a list when nobody looks. */
const LOOKS: ReadonlyMap<string, string> = new Map([
  ['some', 'false'],
  ['every', 'true'],
])

const isName = (node: Node): boolean =>
  node.type === 'Literal' ||
  (node.type === 'ArrayExpression' && nodesOf(node['elements']).every(isName))
/** A list of names, patterns or pairs of them. */
const entries = (node: Node): readonly Node[] => {
  const found = node.type === 'ArrayExpression' ? nodesOf(node['elements']) : []
  return found.length > 1 && found.every(isName) ? found : []
}
const endsWithThrow = (node: Node | null): boolean =>
  node?.type === 'BlockStatement'
    ? endsWithThrow(nodesOf(node['body']).at(-1) ?? null)
    : node?.type === 'ThrowStatement'

type Cut = { readonly at: Node; readonly by: string; readonly what: string }

/** The checks of this node alone. */
const cuts = (node: Node, text: string): readonly Cut[] => {
  const source = (one: Node): string => text.slice(one.start, one.end)
  const without = (parts: readonly Node[], glue: string, what: string): readonly Cut[] =>
    parts.map((part) => ({
      at: node,
      by: parts
        .filter((other) => other !== part)
        .map((other) => `(${source(other)})`)
        .join(glue),
      what: `${what} ${source(part)}`,
    }))
  const check = nodeOf(node['test'])
  switch (node.type) {
    case 'IfStatement': {
      if (check === null) return []
      const never = { at: check, by: 'false', what: `never: if (${source(check)})` }
      const always = { at: check, by: 'true', what: `always: if (${source(check)})` }
      return endsWithThrow(nodeOf(node['consequent'])) ? [never] : [never, always]
    }
    case 'ConditionalExpression':
      if (check === null) return []
      return ['false', 'true'].map((by) => ({ at: check, by, what: `${by}: ${source(check)} ?` }))
    case 'LogicalExpression': {
      const operator = String(node['operator'])
      if (operator === '??') return []
      return without(operands(node, operator), ` ${operator} `, `without: ${operator}`)
    }
    case 'BinaryExpression': {
      const by = BOUNDS.get(node['operator'])
      const [left, right] = [node['left'], node['right']].map(nodeOf)
      if (by === undefined || !left || !right) return []
      // A node's own text has no parentheses around it.
      return [
        {
          at: node,
          by: `(${source(left)}) ${by} (${source(right)})`,
          what: `${by}: ${source(node)}`,
        },
      ]
    }
    case 'CallExpression':
      return cutsOfCall(node, source)
    case 'ArrayExpression':
      return entries(node).map((entry) => ({
        at: node,
        by: `[${entries(node)
          .filter((other) => other !== entry)
          .map(source)
          .join(', ')}]`,
        what: `without: ${source(entry)}`,
      }))
    case 'ThrowStatement':
      return [{ at: node, by: '{}', what: `never: ${source(node)}` }]
    default:
      return []
  }
}

const cutsOfCall = (node: Node, source: (one: Node) => string): readonly Cut[] => {
  const callee = nodeOf(node['callee'])
  const object = nodeOf(callee?.['object'])
  const property = nodeOf(callee?.['property'])
  if (callee?.type !== 'MemberExpression' || object === null || property === null) return []
  const name = source(property)
  const args = nodesOf(node['arguments'])
  const looks = LOOKS.get(name)
  if (looks !== undefined) return [{ at: node, by: looks, what: `${looks}: ${source(node)}` }]
  if (name === 'filter')
    return [
      { at: node, by: `(${source(object)})`, what: `without: .filter(${args.map(source).join()})` },
    ]
  if (source(object) !== 'Math' || !/^(?:min|max)$/.test(name) || args.length < 2) return []
  return args.map((arg) => ({
    at: node,
    by: `Math.${name}(${args
      .filter((other) => other !== arg)
      .map(source)
      .join(', ')})`,
    what: `without: Math.${name} ${source(arg)}`,
  }))
}

const MOST_TEXT = 160
const short = (text: string): string => {
  const line = text.replaceAll(/\s+/g, ' ')
  return line.length > MOST_TEXT ? `${line.slice(0, MOST_TEXT)}…` : line
}

/**
 * Every mutant of one source: a condition that never or always holds, an operand left out, a bound moved by one,
 * an entry taken off a list. Left alone: equality (`never` says more), patterns, loops' own conditions.
 * @throws SyntaxError where the source, or what was made of it, is none
 */
export const mutantsOf = (path: string, text: string): readonly Mutant[] => {
  const found: Mutant[] = []
  const times = new Map<string, number>()
  const add = (cut: Cut, name: string): void => {
    const what = short(`${name} ${cut.what}`)
    const time = (times.get(what) ?? 0) + 1
    times.set(what, time)
    const mutated = text.slice(0, cut.at.start) + cut.by + text.slice(cut.at.end)
    parseAst(mutated, { lang: 'ts' })
    found.push({
      path,
      line: text.slice(0, cut.at.start).split('\n').length,
      what: time === 1 ? what : `${what} (${time})`,
      text: mutated,
    })
  }
  /** @param up what it stands in, nearest first */
  const walk = (node: Node, up: readonly Node[], name: string): void => {
    const [parent, grand] = up
    const own = nameOf(node, up.some(isFunction)) ?? name
    const part =
      parent !== undefined &&
      // The rest of a chain or of a list, a loop's own condition, a refusal whose condition is taken out.
      ((node.type === 'LogicalExpression' &&
        parent.type === node.type &&
        parent['operator'] === node['operator']) ||
        entries(parent).length > 0 ||
        // A pair inside a function is a value, not a list.
        (parent.type !== 'NewExpression' && up.some(isFunction) && entries(node).length === 2) ||
        (parent.type === 'ForStatement' && parent['test'] === node) ||
        (node.type === 'ThrowStatement' &&
          (parent.type === 'BlockStatement' ? grand : parent)?.type === 'IfStatement'))
    if (!part) for (const cut of cuts(node, text)) add(cut, own)
    for (const [key, value] of Object.entries(node))
      if (key !== 'typeAnnotation' && key !== 'typeParameters')
        for (const child of nodesOf(value)) walk(child, [node, ...up], own)
  }
  walk(parseAst(text, { lang: 'ts' }) as unknown as Node, [], 'top')
  return found
}
