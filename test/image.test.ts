// What makes an image for every architecture, and keeps strangers out of it, read from what it is made of: no engine needed.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const read = (name: string): string => readFileSync(join(ROOT, name), 'utf8')
const dockerfile = read('Dockerfile')

type Locked = {
  readonly dev?: boolean
  readonly hasInstallScript?: boolean
  readonly os?: readonly string[]
  readonly cpu?: readonly string[]
}
const { packages } = JSON.parse(read('package-lock.json')) as {
  readonly packages: Readonly<Record<string, Locked>>
}
const production = Object.entries(packages).filter(([path, { dev }]) => path !== '' && dev !== true)

test('nothing that runs in production is built for a machine: no install script, no addon, no platform', () => {
  expect(production.length).toBeGreaterThan(40)
  const bound = production.filter(
    ([, { hasInstallScript, os, cpu }]) => (hasInstallScript === true || os) ?? cpu,
  )
  expect(bound).toEqual([])
  // The lock says it only of packages as they were published: these lie here.
  const native = production.flatMap(([path]) =>
    readdirSync(join(ROOT, path), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.node$|(?:^|\/)binding\.gyp$|\.(?:so|dylib|dll|exe)$/.test(name))
      .map((name) => `${path}/${name}`),
  )
  expect(native).toEqual([])
})

test('the Dockerfile begins what runs from nothing, names no registry, and builds with the Node and version of the package', () => {
  const stages = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, base]) => base)
  expect(stages).toEqual(['${NODE_IMAGE}', 'scratch'])
  expect(dockerfile).not.toMatch(
    /[a-z0-9-]+\.(?:io|com|org|dev|net)\b(?!\.image)|(?:docker|gcr|ghcr|quay)\./,
  )
  const about = JSON.parse(read('package.json')) as {
    readonly version: string
    readonly devDependencies: Readonly<Record<string, string>>
  }
  expect(dockerfile).toContain(`ARG NODE_IMAGE=node:${about.devDependencies['node']}-`)
  expect(dockerfile).toContain(`ARG VERSION="${about.version}"`)
  // The compiled code is made by the flags that it is used with.
  const flags = (line: RegExp): readonly string[] =>
    dockerfile.match(line)?.[0].match(/--[\w-]+(?:=\d+)?/g) ?? []
  const warmed = flags(/^RUN \["\/usr\/local\/bin\/node".*$/m)
  expect(warmed.length).toBeGreaterThan(2)
  expect(flags(/^ENTRYPOINT .*$/m).filter((flag) => !flag.includes('percentage'))).toEqual(warmed)
})

test('what may enter the image is listed; everything else stays out', () => {
  const lines = read('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  expect(lines[0]).toBe('*')
  const named = lines.slice(1).map((line) => line.replace(/^!/, ''))
  for (const name of named) expect(existsSync(join(ROOT, name)), name).toBe(true)
  for (const name of [
    'test',
    'node_modules',
    '.git',
    '.cache',
    '.sandbox',
    'deputy.yaml',
    'keys.json',
  ])
    expect(named).not.toContain(name)
})

const hadolint =
  process.env['DEPUTY_HADOLINT'] ?? join(homedir(), '.cache/deputy-ci/hadolint-2.15.1/bin/hadolint')
const unlinted = existsSync(hadolint) ? '' : `${hadolint} is missing: .ci/run makes it`
if (unlinted !== '' && process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(unlinted)
test.skipIf(unlinted !== '')(
  `the linter of Dockerfiles has nothing to say${unlinted === '' ? '' : ` (SKIPPED: ${unlinted})`}`,
  () => {
    const { status, stdout } = spawnSync(hadolint, ['--no-color', join(ROOT, 'Dockerfile')], {
      encoding: 'utf8',
    })
    expect([status, stdout]).toEqual([0, ''])
  },
)
