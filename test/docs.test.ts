// The books: what they show is run or read as a reader would, and what they name is there.
import { generateKeyPairSync } from 'node:crypto'
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { load } from '../proxy/config/load.ts'
import { configJsonSchema, keysOf } from '../proxy/config/words.ts'
import { generatedDocs, isTree, type Tree } from './docs.ts'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'deputy-docs-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const BOOKS = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' }).filter(
  (name) => name.endsWith('.md'),
)
const FILES = [
  ...BOOKS.map((name) => `docs/${name}`),
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'policies/README.md',
  'helm/deputy/README.md',
]
const text = new Map(FILES.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]))
const textOf = (file: string): string => text.get(file) ?? ''
const FENCE = /^```([\w-]*)\n([^]*?)^```$/gm
const blocks = (file: string, languages: readonly string[]): readonly string[] =>
  [...textOf(file).matchAll(FENCE)]
    .filter(([, language = '']) => languages.includes(language))
    .map(([, , block = '']) => block)
const prose = (file: string): string => textOf(file).replaceAll(FENCE, '')

test('the generated parts are what their sources say', () => {
  expect(generatedDocs(false)).toEqual([])
})

describe('a reader', () => {
  test('has a README of 180 lines at most', () => {
    expect(textOf('README.md').split('\n').length).toBeLessThanOrEqual(180)
  })
  // SECURITY.md is a table of claims with their tests, looked up, not read.
  test.each(FILES.filter((file) => file !== 'SECURITY.md'))(
    'is not tired by a long line of %s',
    (file) => {
      const long = prose(file)
        .split('\n')
        .filter((line) => line.length > (line.startsWith('|') ? 260 : 160))
      expect(long).toEqual([])
    },
  )
  test('finds every book in the index', () => {
    for (const name of BOOKS.filter((each) => each !== 'README.md'))
      expect(textOf('docs/README.md')).toContain(`](${name}`)
  })
  test('finds the reason of every dependency', () => {
    const { dependencies }: { dependencies: object } = JSON.parse(
      readFileSync(join(ROOT, 'package.json'), 'utf8'),
    )
    const [, table = ''] = textOf('docs/architecture.md').split('| package | why |\n')
    const rows = table.split('\n\n')[0]?.split('\n') ?? []
    const named = rows.flatMap((row) => (row.split(' | ')[0] ?? '').match(/[^`|, ]+/g) ?? [])
    expect(named.filter((name) => name !== '---').toSorted()).toEqual(
      Object.keys(dependencies).toSorted(),
    )
  })
})

/** What GitHub makes of a heading. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')
const anchors = (file: string): readonly string[] =>
  [...prose(file).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchorOf(heading))

test.each(FILES)('every link of %s leads somewhere', (file) => {
  for (const [, link = ''] of prose(file).matchAll(/\]\(([^)\s]+)\)/g)) {
    if (link.startsWith('https://')) continue
    const [path = '', anchor] = link.split('#')
    const at = path === '' ? file : relative(ROOT, join(ROOT, dirname(file), path))
    expect(existsSync(join(ROOT, at)), link).toBe(true)
    if (anchor !== undefined) expect(anchors(at), link).toContain(anchor)
  }
})

test.each(FILES)('every file that %s names is there', (file) => {
  const named = [
    ...prose(file).matchAll(/`((?:proxy|test|providers|policies|docs|bin)\/[\w./-]+)`/g),
  ]
  // Files that a recipe makes.
  const made = ['policies/deputy/providers/github/freeze.rego', 'proxy/people/languages/fr.ts']
  const missing = named
    .map(([, path = '']) => path)
    .filter((path) => !made.includes(path) && !existsSync(join(ROOT, path)))
  expect(missing).toEqual([])
})

/** All of this repository's own words: what is built, and what a policy or a chart says. */
const sources = ['proxy', 'policies', 'helm'].flatMap((room) =>
  readdirSync(join(ROOT, room), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(?:ts|rego|ya?ml|json|tpl)$/.test(name))
    .map((name) => readFileSync(join(ROOT, room, name), 'utf8')),
)
const written = sources.join('\n')

describe('what is named is there', () => {
  test('each test that SECURITY.md proves a claim by', () => {
    const named = [...textOf('SECURITY.md').matchAll(/`([a-z0-9_]+\/[a-z0-9_/]+)`/g)]
    expect(named.length).toBeGreaterThan(100)
    const missing = named
      .map(([, name = '']) => name)
      .filter((name) => !existsSync(join(ROOT, `test/${name}.test.ts`)))
      .filter((name) => !existsSync(join(ROOT, name)))
    expect(missing).toEqual([])
  })
  test.each(FILES)('each metric of %s', (file) => {
    const named = textOf(file).match(/\bdeputy_[a-z_]+[a-z]\b/g) ?? []
    expect(
      named.filter((name) => !written.includes(name.replace(/_(?:count|sum|bucket)$/, ''))),
    ).toEqual([])
  })
  /** Not of the configuration, though they begin as its sections do. */
  const OTHERS = [
    'tools.authorize', // of Arcade's client
    'audit.jsonl.exported', // a file
    'policy.digest', // members of OCSF and of the evidence
    'policy.revision',
    'policy.uid',
    'policy.version',
    'entitlements[].value', // of SCIM
    'state.size', // of the chart
  ]
  const keys = keysOf(configJsonSchema()).map(([path]) => path.replaceAll('[]', ''))
  const shapes = keys.map(
    (path) => new RegExp(`^${path.replaceAll('.', '\\.').replaceAll('NAME', '[\\w-]+')}$`),
  )
  const sections = new Set(keys.map((path) => path.split('.', 1)[0]))
  test.each(FILES)('each key of the configuration in %s', (file) => {
    const named = [
      ...prose(file).matchAll(/`([a-z_]+(?:\[\])?(?:\.[a-z_]+(?:\[\])?)+)(?::[^`]*)?`/g),
    ].map(([, path = '']) => path)
    const unknown = named.filter((path) => {
      const flat = path.replaceAll('[]', '')
      return (
        sections.has(flat.split('.', 1)[0] ?? '') &&
        !OTHERS.includes(path) &&
        !shapes.some((shape) => shape.test(flat)) &&
        !written.includes(`'${path}'`) // an event of the evidence
      )
    })
    expect(unknown).toEqual([])
  })
  test('as many SDKs as the README counts', () => {
    const [, rows = ''] = textOf('docs/sdks.md').split('<!-- generated: sdks -->')
    const tables = rows
      .split('\n\n')
      .filter((table) => table.startsWith('| SDK | how it is made |'))
    const sdks = tables.flatMap((table) => table.trim().split('\n').slice(2))
    for (const file of ['README.md', 'docs/agents.md'])
      expect(textOf(file)).toContain(`each of ${sdks.length} SDKs of`)
  })
  test('as many alerts as watch.md counts', () => {
    const alerts = readFileSync(join(ROOT, 'helm/deputy/files/alerts.yaml'), 'utf8')
    expect(alerts.match(/^ *- alert: /gm)?.length).toBe(19)
    expect(textOf('docs/operate/watch.md')).toContain('Nineteen come with the chart')
  })
  test('as many golden inputs as policy.md counts', () => {
    const golden = readdirSync(join(ROOT, 'test/golden')).filter((name) => name.endsWith('.json'))
    expect(textOf('docs/policy.md')).toContain(`holds ${golden.length} inputs`)
  })
})

/** Beside what a book shows of it. */
const LEAST = {
  version: 1,
  identity: { trust: 'plain' },
  policy: { bundle: './bundle.tar.gz' },
  vault: { keys: './keys.json' },
  connect: { sign_in: 'local' },
  connections: { github: { provider: 'github', client_id: 'x', client_secret: 'y' } },
}
const ENV = new Proxy<NodeJS.ProcessEnv>(
  {},
  { get: (_, name) => `the-${String(name)}-that-is-long-enough-to-be-a-key` },
)
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const problemsOf = async (config: Tree): Promise<unknown> => {
  writeFileSync(join(dir, 'google.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const path = join(dir, 'deputy.yaml')
  writeFileSync(path, stringify(config))
  const result = await load(path, ENV)
  return 'loaded' in result ? [] : result.problems
}

describe('a configuration', () => {
  const SHOWN = FILES.filter((file) =>
    /^docs\/(?:entitlements|consent|evidence|forward|hooks|scim|signals|operators|providers|catalogues|mcp-servers|mcp|backends|operate\/[a-z-]+)\.md$/.test(
      file,
    ),
  )
  const shown = SHOWN.flatMap((file) => blocks(file, ['yaml']))
  const acme: Tree = parse(shown.find((block) => block.includes('\nid: acme')) ?? '')
  const others = shown.filter((block) => !block.includes('\nid: acme'))

  test.each(others.map((block) => [block.split('\n').slice(0, 2).join(' '), block]))(
    'that is shown is taken: %s',
    async (_, block) => {
      const tree: unknown = parse(block)
      if (!isTree(tree)) throw new Error('is no mapping')
      // Parts of a definition are shown as parts of acme's.
      const part = 'operations' in tree || 'example' in tree
      writeFileSync(join(dir, 'acme.yaml'), stringify(part ? { ...acme, ...tree } : acme))
      const connection = {
        provider: 'acme',
        client_id: 'x',
        client_secret: 'y',
        scopes: ['notes.read'],
      }
      const uses = { providers: ['./acme.yaml'], connections: { acme: connection } }
      expect(await problemsOf({ ...LEAST, ...(part ? uses : tree) })).toEqual([])
    },
  )
  test('is all there is in YAML', () => {
    // Tables of policy are tried by policy/readme.
    for (const file of FILES.filter((name) => name !== 'policies/README.md'))
      if (!SHOWN.includes(file)) expect(blocks(file, ['yaml']), file).toEqual([])
    expect(others.length).toBeGreaterThan(4)
  })
})

/** Words of `serve`, not commands. */
const SAID = ['deputy is ready', 'deputy does not start:']
const commandsOf = (file: string): readonly string[] => [
  ...[...prose(file).matchAll(/`((?:npx --no |npm run )?deputy [a-z][^`]+)`/g)].map(
    ([, line = '']) => line,
  ),
  ...blocks(file, ['sh', 'console']).flatMap((block) =>
    block.split('\n').filter((line) => /^(?:\$ )?(?:npx --no )?deputy /.test(line)),
  ),
]
const commands = new Set(
  FILES.flatMap(commandsOf)
    .filter((line) => !SAID.includes(line))
    .map((line) =>
      line
        .replace(/^(?:\$ )?(?:npx --no |npm run )?deputy (?:-- )?/, '')
        .replace(/ +#.*$/, '')
        .replaceAll(/\s+/g, ' ')
        .trim(),
    ),
)
const deputy = join(ROOT, 'bin/deputy.js')

test.each([...commands])('the command line knows: deputy %s', async (line) => {
  const words =
    /^(?:[a-z-]+(?: |$)){1,2}/.exec(line.replace(/ (?:FILE|[^a-z ]).*$/, ''))?.[0].trim() ?? ''
  const group = [
    'keys',
    'policy',
    'providers',
    'connect',
    'audit',
    'vault',
    'runs',
    'connections',
    'people',
    'agents',
    'entitlements',
    'tenants',
    'tools',
  ]
  const [first = '', second = ''] = words.split(' ')
  const named = group.includes(first) ? `${first} ${second}`.trim() : first
  const { stdout } = await promisify(execFile)(process.execPath, [
    deputy,
    ...named.split(' '),
    '--help',
  ])
  expect(stdout).toMatch(new RegExp(`^Usage: deputy ${named}(?: |$)`, 'm'))
  for (const [, option = ''] of line.matchAll(/ (--[a-z-]+)/g)) expect(stdout).toContain(option)
})

test('every script of npm that is named is there', () => {
  const { scripts }: { scripts: object } = JSON.parse(
    readFileSync(join(ROOT, 'package.json'), 'utf8'),
  )
  const named = FILES.flatMap((file) =>
    [...textOf(file).matchAll(/npm (?:run )?(start|test(?![:\w])|(?<=run )[\w:]+)/g)].map(
      ([, name = '']) => name,
    ),
  )
  expect(new Set(named).size).toBeGreaterThan(5)
  expect(named.filter((name) => !Object.hasOwn(scripts, name))).toEqual([])
})
