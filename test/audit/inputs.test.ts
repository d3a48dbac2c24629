import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { compactDecrypt, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { contentKid, createInputs, digestOf } from '../../proxy/audit/inputs.ts'
import { publicKeyOf } from '../../proxy/config/investigator.ts'

const pair = generateKeyPairSync('x25519')
const investigator = publicKeyOf(JSON.stringify(pair.publicKey.export({ format: 'jwk' })))
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
afterEach(() => {
  vi.useRealTimers()
})

type Line = { readonly event: string; readonly jwe: string }
const make = (required = true) => {
  const lines: Line[] = []
  const logged: string[] = []
  const full = { on: false }
  const log = (_fields: object, text: string): void => void logged.push(text)
  const inputs = createInputs({
    append: (event, fields) => {
      if (full.on) return Promise.reject(new Error('full'))
      const { jwe } = JSON.parse(`{${fields.slice(1)}}`) as { readonly jwe: string }
      lines.push({ event, jwe })
      return Promise.resolve()
    },
    investigator,
    proc: 'P1',
    randomBytes,
    required,
    log: { debug: log, info: log, warn: log, error: log },
  })
  const keep = (exchange: string, part?: number) =>
    inputs.keep({ exchange, n: 1, part }, ['{"version":1}', [['user', '{"id":"alice"}']]])
  const events = (): readonly string[] => lines.map(({ event }) => event)
  return { inputs, keep, lines, events, logged, full }
}
const keyIn = async (line: Line | undefined): Promise<JWK> => {
  const { plaintext } = await compactDecrypt(line?.jwe ?? '', pair.privateKey)
  return JSON.parse(Buffer.from(plaintext).toString()) as JWK
}

test('an input is sealed under a key that is written first, once, under the investigator’s', async () => {
  const { keep, lines, events } = make()
  const digests = await Promise.all([keep('E1'), keep('E2', 1), keep('E2', 2)])
  expect(events()).toEqual(['input.key', 'input', 'input', 'input'])
  const jwk = await keyIn(lines[0])
  expect(jwk.kid).toBe(contentKid(jwk.k ?? ''))
  expect(decodeProtectedHeader(lines[0]?.jwe ?? '')).toMatchObject({
    alg: 'ECDH-ES+A256KW',
    enc: 'A256GCM',
    kid: investigator.kid,
    proc: 'P1',
  })
  const record = lines.find(({ jwe }) => digestOf(jwe) === digests[2])
  const { plaintext, protectedHeader } = await compactDecrypt(
    record?.jwe ?? '',
    await importJWK(jwk, 'dir'),
  )
  expect(Buffer.from(plaintext).toString()).toBe('{"version":1,"user":{"id":"alice"}}')
  const of = { exchange: 'E2', n: 1, part: 2, proc: 'P1' }
  expect(protectedHeader).toEqual({ alg: 'dir', enc: 'A256GCM', kid: jwk.kid, ...of })
})

test('after an hour another key seals, and the one before is forgotten', async () => {
  const { keep, lines, inputs, events } = make()
  await keep('E1')
  vi.advanceTimersByTime(3_599_999)
  await keep('E2')
  expect(events()).toEqual(['input.key', 'input', 'input'])
  vi.advanceTimersByTime(1)
  inputs.began()
  await keep('E3')
  expect(events().slice(3)).toEqual(['input.key', 'input'])
  expect((await keyIn(lines[0])).k).not.toBe((await keyIn(lines[3])).k)
})

test('a new file begins with the key that is in use', async () => {
  const { keep, lines, inputs, events } = make()
  inputs.began()
  expect(events()).toEqual([])
  await keep('E1')
  inputs.began()
  await expect.poll(events).toEqual(['input.key', 'input', 'input.key'])
  expect(lines[2]?.jwe).toBe(lines[0]?.jwe)
})

test('what cannot be written is refused; a key that was not written seals nothing', async () => {
  const { keep, events, full } = make()
  full.on = true
  await expect(keep('E1')).rejects.toThrow('full')
  full.on = false
  await keep('E2')
  expect(events()).toEqual(['input.key', 'input'])
})

test('a key that a new file did not take is made anew', async () => {
  const { keep, events, inputs, full, logged, lines } = make()
  await keep('E1')
  full.on = true
  inputs.began()
  await expect.poll(() => logged).toEqual([expect.stringContaining('could not be written again')])
  full.on = false
  await keep('E2')
  expect(events()).toEqual(['input.key', 'input', 'input.key', 'input'])
  expect(lines[2]?.jwe).not.toBe(lines[0]?.jwe)
})

test('where evidence is not required it is told, and the call has no input', async () => {
  const { keep, logged, full } = make(false)
  full.on = true
  expect(await keep('E1')).toBeNull()
  expect(logged).toEqual(['what policy was asked could not be kept'])
})
