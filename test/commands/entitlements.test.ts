// `deputy entitlements show`, and what `deputy validate` says of a directory.
import { rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { entitlementsShow } from '../../proxy/commands/entitlements.ts'
import { validate } from '../../proxy/commands/validate/command.ts'
import { loadFolder, prepareFolder, type Fields } from '../support/deputy.ts'

const people: Record<string, Fields> = {
  alice: { id: 'alice', active: true, groups: ['backend', 'a\u001b[2J'], roles: ['boss'] },
  carol: { id: 'carol', active: false },
}
let server: Server
let url: string
let broken: boolean
const folders: string[] = []
beforeAll(async () => {
  server = createServer((req, res) => {
    const one = people[(req.url ?? '').slice(1)]
    res.writeHead(broken ? 500 : one === undefined ? 404 : 200, {
      'content-type': 'application/json',
    })
    res.end(JSON.stringify(one ?? {}))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/{id}`
})
afterAll(() => server.close())
afterEach(() => {
  broken = false
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

const http = () => ({
  preset: 'none',
  url,
  id: '/id',
  active: '/active',
  groups: '/groups',
  roles: '/roles',
})
const loadedWith = async (entitlements: Fields) => {
  const folder = await prepareFolder({
    upstream: 'http://127.0.0.1:9',
    config: { entitlements },
    people: [{ id: 'alice', groups: ['staff', 'backend'] }],
  })
  folders.push(folder)
  return loadFolder(folder)
}
const show = async (
  entitlements: Fields,
  user = 'alice',
): Promise<{ readonly code: number; readonly said: string }> => {
  const loaded = await loadedWith(entitlements)
  const lines: string[] = []
  const print = (line: string): void => void lines.push(line.replace(/\d+ ms/, 'N ms'))
  const code = await entitlementsShow({ loaded, user, print, complain: print })
  return { code, said: lines.join('\n') }
}

test('each value has its origin, and the starter policy’s roles and rows stand below', async () => {
  const both = { sources: ['file', 'http'], file: './people.yaml', http: http() }
  expect(await show(both)).toEqual({
    code: 0,
    said: [
      'file: active, no age, asked for N ms',
      'http: active, age 0 s, asked for N ms',
      'alice of realm local, tenant default: active',
      '  group staff (file)',
      '  group backend (file, http)',
      '  group "a\\u001b[2J" (http)',
      '  role boss (http)',
      'the starter policy makes of it:',
      '  role boss (of the source)',
      '  role user (by group staff)',
      '  acme: row use, read write delete, facts of at most 300 s',
      '  stream: row use, read write delete, facts of at most 300 s',
    ].join('\n'),
  })
})

test('who is not active, or nobody, is allowed nothing', async () => {
  const one = { source: 'http', http: http() }
  expect((await show(one, 'carol')).said).toContain('not active, so nothing is allowed')
  expect((await show(one, 'mallory')).said).toContain('unknown, so nothing is allowed')
})

test('a source that cannot be asked is told, with exit code 1', async () => {
  broken = true
  const { code, said } = await show({ source: 'http', http: http() })
  expect([code, said]).toEqual([1, 'http: could not be asked: it answers 500'])
})

test('validate asks the directory once about nobody, and says what an age means', async () => {
  const said = async (max_age: Fields = {}): Promise<string> => {
    const loaded = await loadedWith({ source: 'http', http: http(), max_age })
    const lines: string[] = []
    const print = (line: string): void => void lines.push(line)
    expect(await validate({ loaded, print, complain: print })).toBe(0)
    return lines.join('\n')
  }
  expect(await said()).toContain('that it knows nobody, as it should')
  expect(await said({ read: '30s' })).toContain(
    'entitlements.max_age.read: is 30 s: whoever loses a right may go on for so long',
  )
  broken = true
  expect(await said()).toContain('nobody is let through until it answers: it answers 500')
})

test('checks are of a call: validate asks each about nobody, and show names them', async () => {
  people['yes'] = { id: true }
  people['no'] = { id: false }
  const check = (name: string, at: string, more: Fields = {}): Fields => ({
    name,
    preset: 'none',
    url: url.replace('{id}', at),
    method: 'POST',
    body: { who: '{id}' },
    answer: '/id',
    ...more,
  })
  const checks = [
    check('strict', 'no'),
    check('lenient', 'yes'),
    check('gone', 'nothing'),
    check('lost', 'no', { body: { what: '{path.nowhere}' } }),
    check('idle', 'no', { operations: ['other.*'] }),
  ]
  const of = { source: 'file', file: './people.yaml', checks }
  const loaded = await loadedWith(of)
  const lines: string[] = []
  const print = (line: string): void => void lines.push(line)
  expect(await validate({ loaded, print, complain: print })).toBe(0)
  const said = lines.join('\n')
  expect(said).toMatch(
    /checks\.0 \(strict\): asked about nobody, it says no in \d+ ms, as it should/,
  )
  expect(said).toContain('entitlements.checks.1 (lenient): asked about nobody, it says yes')
  expect(said).toContain(
    'checks.2 (gone): calls that it is asked about are refused until it answers',
  )
  expect(said).toContain(
    'entitlements.checks.3: no operation that it names has all of {path.nowhere}',
  )
  expect(said).toContain('entitlements.checks.4: no connection has an operation that it names')
  expect((await show(of)).said).toContain(
    'checks are of a call, and asked with each: strict, lenient, gone, lost, idle (not asked here)',
  )
})
