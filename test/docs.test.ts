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
    for (const file of FILES)
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
