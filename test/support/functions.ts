// The functions of a source, by its syntax tree: how long each is by itself, and what it takes.
import { parseAst } from 'vitest/node'
import { isFunction, isNode, nodesOf, type Node } from './syntax.ts'

export type Measured = {
  readonly name: string
  readonly line: number
  /** Without the functions inside it, of which a factory is full. */
  readonly lines: number
  readonly parameters: number
}

const below = (node: Node): readonly Node[] => Object.values(node).flatMap(nodesOf)
const nameOf = (node: Node): string | null => {
  const named = node['id'] ?? node['key']
  return isNode(named) && named.type === 'Identifier' ? String(named['name']) : null
}

export const functionsOf = (text: string): readonly Measured[] => {
  const lineOf = (at: number): number => text.slice(0, at).split('\n').length
  const span = ({ start, end }: Node): number => lineOf(end) - lineOf(start)
  const inner = (node: Node): number =>
    below(node).reduce((sum, one) => sum + (isFunction(one) ? span(one) : inner(one)), 0)
  const found: Measured[] = []
  const walk = (node: Node, name: string): void => {
    if (isFunction(node) && isNode(node['body'])) {
      const { params } = node as unknown as { readonly params: readonly unknown[] }
      const lines = span(node) + 1 - inner(node['body'])
      found.push({ name, line: lineOf(node.start), lines, parameters: params.length })
    }
    for (const one of below(node)) walk(one, nameOf(node) ?? name)
  }
  walk(parseAst(text, { lang: 'ts' }) as unknown as Node, '')
  return found
}
