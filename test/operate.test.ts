// The operators' books: each command in them is run, against a deputy that serves, in the place of the machine they speak of.
import { execFile } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { prepareFolder, startChild, type Child } from './support/deputy.ts'
import { startUpstream, type Upstream } from './support/upstream.ts'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const book = (name: string): string => readFileSync(join(ROOT, 'docs/operate', name), 'utf8')
const blocks = (name: string): readonly string[] =>
  [...book(name).matchAll(/^ *```sh\n([^]*?)^ *```$/gm)].map(([, block = '']) => block)

let upstream: Upstream
let deputy: Child
let dir = ''
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set('at-alice', 'alice')
  const held = [{ person: 'alice', token: 'at-alice' }]
  dir = await prepareFolder({ upstream: upstream.origin, held })
  deputy = await startChild({ upstream: upstream.origin }, dir)
  mkdirSync(join(dir, 'backups'))
  mkdirSync(join(dir, 'bin'))
  const word = (name: string, text: string): void => {
    writeFileSync(join(dir, 'bin', name), `#!/bin/sh\n${text}\n`)
    chmodSync(join(dir, 'bin', name), 0o755)
  }
  word('deputy', `exec '${process.execPath}' '${join(ROOT, 'bin/deputy.js')}' "$@"`)
  // What systemd does at these words, and what makes users of this machine: said, not done.
  word('systemctl', 'echo "systemctl $*"')
  word('useradd', 'echo "useradd $*"')
  word('chown', 'echo "chown $*"')
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})

/** Carries out what stands there, in this folder instead of /etc and /var. */
const run = async (block: string): Promise<string> => {
  const here = block
    .replaceAll('/etc/deputy/deputy.yaml', join(dir, 'deputy.yaml'))
    .replaceAll('/etc/deputy/keys.json', join(dir, 'keys.json'))
    .replaceAll('/etc/deputy', join(dir, 'etc'))
    .replaceAll('/var/lib/deputy', dir)
    .replaceAll('/var/backups', join(dir, 'backups'))
    .replaceAll('/etc/systemd/system', dir)
    .replaceAll('127.0.0.1:7411', deputy.admin)
  const env = { ...process.env, PATH: `${join(dir, 'bin')}:${process.env['PATH'] ?? ''}` }
  const { stdout, stderr } = await promisify(execFile)('/bin/sh', ['-euxc', here], {
    env,
    cwd: dir,
  })
  return stdout + stderr
}

test('upgrade.md: a new configuration is tried, read and looked at', async () => {
  const [first = ''] = blocks('upgrade.md')
  const said = await run(first)
  expect(said).toContain('systemctl reload deputy')
  expect(said).toContain('[+] config revision')
  expect(said).toContain('readyz check passed')
})

test('watch.md: what is asked answers, and every metric that it names is there', async () => {
  const said = await run(blocks('watch.md').join('\n'))
  const named = new Set(
    (book('watch.md') + book('alerts.md'))
      .match(/\bdeputy_[a-z_]+/g)
      ?.map((name) => name.replace(/_count$/, '')),
  )
  expect(named.size).toBeGreaterThan(8)
  // What has not happened yet, or is asked for by no setting here (a collector, a service of bundles), has no sample.
  const later = new Set(
    'audit_export_waiting_bytes audit_exported_total decisions_total entitlements_failures_total hooks_duration_seconds refresh_failures_total vault_crowded_total vault_waiting bundle_requests_total spans_total'
      .split(' ')
      .map((name) => `deputy_${name}`),
  )
  // Without TLS there is no certificate: its help stands all the same.
  for (const name of named) if (!later.has(name)) expect(said).toContain(`# HELP ${name} `)
})

test('watch.md: the lines of the log that it names are written by some source', () => {
  const lines = [...book('watch.md').matchAll(/^\| `([a-z][^`…]+[a-z])`/gm)].map(
    ([, text = '']) => text,
  )
  const sources = [
    'compose/reload',
    'policy/source',
    'vault/ring_file',
    'store/postgres',
    'pipeline/record',
  ]
  const all = sources
    .map((name) => readFileSync(join(ROOT, 'proxy', `${name}.ts`), 'utf8'))
    .join('\n')
  const messages = lines.filter((line) => !line.startsWith('deputy_') && line.includes(' '))
  expect(messages.length).toBeGreaterThan(3)
  for (const line of messages) if (!/[=<>()]/.test(line)) expect(all).toContain(line)
})

describe('backup.md', () => {
  test('a copy is made, and the evidence proved, while deputy serves; the copy is put back while nobody does', async () => {
    const [make = '', restore = ''] = blocks('backup.md')
    expect(await run(make)).toContain('whole')
    expect(existsSync(join(dir, 'backups/deputy-1.db'))).toBe(true)
    await deputy.stop()
    expect(await run(restore)).toContain('revoked again: 0 connections')
    deputy = await startChild({ upstream: upstream.origin }, dir)
  })
})

describe('vm.md', () => {
  test('its files are made, its unit is one, and what it starts answers', async () => {
    const [files = '', service = ''] = blocks('vm.md')
    const unit = readFileSync(join(ROOT, 'docs/operate/deputy.service'), 'utf8')
    // systemd looks whether the command is there.
    writeFileSync(
      join(dir, 'deputy.service'),
      unit.replace('/usr/bin/deputy', join(dir, 'bin/deputy')),
    )
    mkdirSync(join(dir, 'etc'), { recursive: true })
    const made = files
      .replaceAll('/etc/deputy/deputy.yaml', '/etc/deputy/./deputy.yaml')
      .replaceAll('/etc/deputy/keys.json', '/etc/deputy/./keys.json')
    expect(await run(made)).toContain('useradd --system')
    expect(existsSync(join(dir, 'etc/deputy.yaml'))).toBe(true)
    if (!existsSync('/usr/bin/systemd-analyze')) {
      if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error('systemd-analyze is missing')
      process.stderr.write('SKIPPED: systemd-analyze is missing (apt-get install systemd)\n')
      copyFileSync('/bin/true', join(dir, 'bin/systemd-analyze'))
    }
    expect(await run(service)).toContain('systemctl enable --now deputy')
  })

  test('the unit gives a drain its time', () => {
    const [, seconds = ''] = /^TimeoutStopSec=(\d+)$/m.exec(book('deputy.service')) ?? []
    expect(Number(seconds)).toBeGreaterThanOrEqual(5 + 30 + 10)
  })
})
