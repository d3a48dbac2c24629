import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { describe, expect, test } from 'vitest'
import { OPA_VERSION, findOpa, policyBuild } from '../../proxy/commands/policy.ts'
import { readBundle } from '../../proxy/policy/bundle.ts'
import { activate } from '../../proxy/policy/activate.ts'

type Golden = { readonly input: object; readonly decision: { readonly allow: boolean } }

const root = fileURLToPath(new URL('../../', import.meta.url))
const folder = join(root, 'test/golden')
const read = (path: string): unknown => JSON.parse(readFileSync(join(root, path), 'utf8'))
const golden = new Map(
  readdirSync(folder).map((name) => [
    basename(name, '.json'),
    read(`test/golden/${name}`) as Golden,
  ]),
)
const quiet = (): void => undefined
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
const clock = { now: () => Date.now(), mono: () => performance.now() }
const places = { named: process.env['DEPUTY_OPA'], path: process.env['PATH'], home: homedir() }
const opa = await findOpa(places).catch(() => null)

describe('the shipped policy, compiled', async () => {
  const bundle = await readBundle(readFileSync(join(root, 'policies/bundle.tar.gz')))
  const engine = await activate(bundle, new Map(), { log, clock })

  test('has golden inputs for allows and for refusals', () => {
    expect(golden.size).toBeGreaterThanOrEqual(50)
    expect([...golden.values()].filter(({ decision }) => decision.allow).length).toBeGreaterThan(10)
  })

  test.each([...golden])('decides as written: %s', async (_name, { input, decision }) => {
    expect(await engine.evaluate(JSON.stringify(input))).toEqual(decision)
  })

  test.each([...golden])(
    'decides the same when members come apart: %s',
    async (_name, { input, decision }) => {
      const members = Object.entries(input).map(
        ([name, value]) => [name, JSON.stringify(value)] as const,
      )
      const apart = [members, ...members.map((one) => [one])]
      for (const shared of apart) {
        const own = Object.fromEntries(
          Object.entries(input).filter(([name]) => !shared.some(([other]) => other === name)),
        )
        expect(await engine.evaluate(JSON.stringify(own), shared)).toEqual(decision)
      }
    },
  )

  test('is fed inputs of the published schema, and so are its tables', () => {
    const ajv = new Ajv({ strict: false })
    const input = ajv.compile(read('policies/schema/input.json') as object)
    const odd = [...golden]
      .filter(([, { input: document }]) => !input(document))
      .map(([name]) => name)
    // Those that are wrong on purpose, and no other.
    expect(odd).toEqual([
      'empty',
      'facts-of-negative-age',
      'facts-of-no-age',
      'graphql-subscription',
      'groups-as-object',
      'scopes-as-object',
      'user-inactive-by-type',
      'user-missing',
      'version-2',
    ])
    const tables = ajv.compile(read('policies/schema/tables.json') as object)
    expect([tables(bundle.data['deputy_data']), tables.errors]).toEqual([true, null])
  })
})

const needs = opa === null ? ` (SKIPPED: needs opa ${OPA_VERSION}, name it with DEPUTY_OPA)` : ''

describe.skipIf(opa === null)(`the referee, opa ${OPA_VERSION}${needs}`, () => {
  test('decides every golden input like the compiled policy', () => {
    const scratch = mkdtempSync(join(tmpdir(), 'deputy-golden-'))
    try {
      for (const [name, { input }] of golden)
        writeFileSync(join(scratch, `${name}.json`), JSON.stringify(input))
      const out = execFileSync(
        opa ?? '',
        ['exec', '--decision', 'deputy/decision', '-b', 'policies', scratch],
        {
          cwd: root,
          encoding: 'utf8',
        },
      )
      const { result } = JSON.parse(out) as { result: { path: string; result: unknown }[] }
      const decided = result.map(({ path, result: decision }) => [
        basename(path, '.json'),
        decision,
      ])
      expect(Object.fromEntries(decided)).toEqual(
        Object.fromEntries([...golden].map(([name, { decision }]) => [name, decision])),
      )
    } finally {
      rmSync(scratch, { recursive: true })
    }
  })

  test('builds the committed bundle again, byte by byte', async () => {
    const said: string[] = []
    const code = await policyBuild({ root, places, check: true, print: (line) => said.push(line) })
    expect([code, said]).toEqual([0, []])
  })
})
