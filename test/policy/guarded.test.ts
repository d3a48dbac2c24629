// What the catalogues know of merging, approving and moving refs, against the tables that are shipped: no name of it passes.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { OperationRow } from '../../proxy/model.ts'
import { activate } from '../../proxy/policy/activate.ts'
import { readBundle } from '../../proxy/policy/bundle.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const quiet = (): void => undefined
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
const clock = { now: () => Date.now(), mono: () => performance.now() }
const files = new Map<string, unknown>(
  readdirSync(join(root, 'providers'))
    .filter((name) => !/\.(?:tools|parameters)\./.test(name))
    .map((name) => [
      `providers/${name}`,
      parse(readFileSync(join(root, 'providers', name), 'utf8')) as unknown,
    ]),
)
const { providers } = compileProviders(files)
const golden = JSON.parse(readFileSync(join(root, 'test/golden/merge-a-pull.json'), 'utf8')) as {
  readonly input: { readonly request: object }
}

const GUARDED = /merge|approve|dismiss|\/refs\b|updateRef|deleteRef/i
/** Makes a new ref, moves one forward (force has golden inputs of its own), says no to a suggestion. */
const HARMLESS = new Set(['git.createRef', 'git.updateRef', 'issues.dismissSuggestion'])

const inputOf = (provider: string, { id, access, scopes, ...row }: OperationRow): string => {
  const [required_scopes = []] = scopes
  const segments = row.path
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll(/\{\w+\+?\}/g, '7'))
  const field = row.graphql?.split(' ')
  const graphql = field && { type: field[0], name: '', fields: [field[1]], depth: 2 }
  const { input } = golden
  return JSON.stringify({
    ...input,
    provider: {
      id: provider,
      connection: provider,
      connected: true,
      account: 'a',
      granted_scopes: scopes.flat(),
      lineage: [provider],
    },
    request: { ...input.request, method: row.method, segments },
    operation: {
      id,
      kind: graphql ? 'graphql' : 'rest',
      access,
      required_scopes,
      inspects: row.inspect.length > 0,
      ...(graphql ? { graphql } : {}),
    },
  })
}

describe('the shipped tables', async () => {
  const bundle = await readBundle(readFileSync(join(root, 'policies/bundle.tar.gz')))
  const engine = await activate(bundle, new Map(), { log, clock })
  test.each(['github', 'github_app', 'gitea'])(
    'let no agent merge, approve or move refs at %s, by whatever name',
    async (provider) => {
      const rows = (providers.get(provider)?.operations ?? []).filter(
        ({ access, id, method, path, graphql }) =>
          access !== 'read' && GUARDED.test(`${method} ${path} ${id} ${graphql ?? ''}`),
      )
      expect(rows.length).toBeGreaterThanOrEqual(5)
      const allowed: string[] = []
      for (const row of rows) {
        const decision = await engine.evaluate(inputOf(provider, row))
        if (!('allow' in decision)) throw new Error(decision.detail)
        if (decision.allow) allowed.push(row.id)
      }
      expect(allowed.filter((id) => !HARMLESS.has(id))).toEqual([])
    },
  )
})
