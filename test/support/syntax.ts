// Nodes of a syntax tree (ESTree), as far as tests look at sources by it.

export type Node = { readonly type: string; readonly start: number; readonly end: number } & {
  readonly [key: string]: unknown
}
export const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string'
export const nodesOf = (value: unknown): readonly Node[] =>
  Array.isArray(value) ? value.filter(isNode) : isNode(value) ? [value] : []
export const isFunction = ({ type }: Node): boolean => /^(?:ArrowFunction|Function)/.test(type)
