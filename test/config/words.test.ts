import { generateKeyPairSync } from 'node:crypto'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { configSchema } from '../../proxy/config/schema.ts'
import { configJsonSchema, keysOf, WORDS } from '../../proxy/config/words.ts'
import { isTree, type Tree } from '../docs.ts'

/** Sets one key by its path: `[]` is the first place of a list, `NAME` the name `github`. */
const set = (tree: Tree, path: string, value: unknown): void => {
  const [head = '', ...rest] = path.replaceAll('[]', '.0').replaceAll('NAME', 'github').split('.')
  if (rest.length === 0) {
    tree[head] ??= value
    return
  }
  const next = rest[0] === '0' ? [] : {}
  const below = isTree(tree[head]) || Array.isArray(tree[head]) ? tree[head] : next
  tree[head] = below
  set(below, rest.join('.'), value)
}

const keys = keysOf(configJsonSchema())
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const PEM = privateKey.export({ type: 'pkcs8', format: 'pem' })
const PUBLIC = publicKey.export({ type: 'spki', format: 'pem' })
/** What stands in the environment and in files here. */
const exampleOf = (example: string): unknown =>
  example.includes('client.pem')
    ? PEM
    : example.includes('bundle.pub')
      ? { prod: PUBLIC }
      : parse(
          example.replaceAll(
            /\$\{(?:env|file):[^}:]*(?::-([^}]*))?\}/g,
            (_, usual?: string) => usual ?? 'x'.repeat(32),
          ),
        )

test('every key of the schema has a sentence, and no sentence is about a key that is not there', () => {
  expect(Object.keys(WORDS).toSorted()).toEqual([...new Set(keys.map(([path]) => path))].toSorted())
  for (const [path, { says }] of Object.entries(WORDS)) {
    expect(says, path).toMatch(/^[A-Z`].*\.$/)
    expect(keys.find(([key]) => key === path)?.[1]['description']).toBe(says)
  }
})

test('a key whose value is a text of one’s own has an example', () => {
  const bare = keys.filter(
    ([path, { type, default: usual, title }]) =>
      type === 'string' &&
      usual === undefined &&
      title === undefined &&
      WORDS[path]?.example === undefined,
  )
  expect(bare.map(([path]) => path)).toEqual([])
})

test('all examples together are a configuration that the schema takes', () => {
  const tree = {}
  // One that another takes the place of.
  const { 'signals[].bearer': _, ...words } = WORDS
  for (const [path, { example }] of Object.entries(words).toSorted(
    ([a], [b]) => b.length - a.length,
  ))
    if (example !== undefined) set(tree, path, exampleOf(example))
  expect(configSchema.safeParse(tree).error?.issues ?? []).toEqual([])
})
