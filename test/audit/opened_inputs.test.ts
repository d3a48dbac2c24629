import { generateKeyPairSync, randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { CompactEncrypt } from 'jose'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createInputs, digestOf } from '../../proxy/audit/inputs.ts'
import { openInputs } from '../../proxy/audit/opened_inputs.ts'
import { privateKeyOf, publicKeyOf } from '../../proxy/config/investigator.ts'

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const investigator = publicKeyOf(JSON.stringify(pair.publicKey.export({ format: 'jwk' })))
const mine = privateKeyOf(JSON.stringify(pair.privateKey.export({ format: 'jwk' })))
const OF = { exchange: 'E1', n: 1, proc: 'P1' }
const quiet = (): void => {}

let folder = ''
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'deputy-opened-'))
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

const lineOf = (event: string, jwe: string): string =>
  `{"v":1,"proc":"P2","event":"${event}","jwe":"${jwe}"}\n`
/** The lines that deputy writes for these inputs, and the digest of each. */
const sealed = async (...texts: readonly string[]) => {
  let file = ''
  const inputs = createInputs({
    append: (event, fields) => {
      file += lineOf(event, (JSON.parse(`{${fields.slice(1)}}`) as { jwe: string }).jwe)
      return Promise.resolve()
    },
    investigator,
    proc: 'P1',
    randomBytes,
    required: true,
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  })
  const digests: string[] = []
  for (const [i, text] of texts.entries())
    digests.push((await inputs.keep({ exchange: `E${i + 1}`, n: 1 }, [text, []])) ?? '')
  return { file, digests }
}
const written = (bytes: string | Buffer): string => {
  const path = join(folder, `inputs-${fs.readdirSync(folder).length}.jsonl`)
  fs.writeFileSync(path, bytes)
  return path
}
const why = (text: RegExp) => ({ kind: 'unusable', why: expect.stringMatching(text) as string })

test.each<[string, (text: string) => Buffer]>([
  ['as it is', (text) => Buffer.from(text)],
  ['packed', (text) => gzipSync(text)],
])('each input opens from a file %s, by its decision and digest', async (_, packing) => {
  const { file, digests } = await sealed('{"a":"é"}', '{"b":2}')
  const inputs = await openInputs([written(packing(file))], mine)
  expect(await inputs.of(OF, digests[0] ?? '')).toEqual({ kind: 'opened', text: '{"a":"é"}' })
  const second = { ...OF, exchange: 'E2' }
  expect(await inputs.of(second, digests[1] ?? '')).toEqual({ kind: 'opened', text: '{"b":2}' })
  // The record is there, but it is another decision's.
  expect(await inputs.of(OF, digests[1] ?? '')).toEqual(why(/is not the one that the evidence/))
  for (const other of [{ n: 2 }, { proc: 'P9' }, { part: 1 }])
    expect(await inputs.of({ ...OF, ...other }, digests[0] ?? '')).toEqual(why(/in none of the/))
})

test('a header that was written over does not open, though its digest is named', async () => {
  const { file, digests } = await sealed('{"a":1}')
  const jwe = /"event":"input","jwe":"([^"]+)"/.exec(file)?.[1] ?? ''
  const [head = '', ...rest] = jwe.split('.')
  const said = Buffer.from(head, 'base64url').toString().replace('"E1"', '"E7"')
  const forged = [Buffer.from(said).toString('base64url'), ...rest].join('.')
  const inputs = await openInputs([written(file.replace(jwe, forged))], mine)
  expect(digests).not.toContain(digestOf(forged))
  expect(await inputs.of({ ...OF, exchange: 'E7' }, digestOf(forged))).toEqual(why(/does not open/))
})

test('a key that somebody else put in does not take the place of deputy’s', async () => {
  const { file, digests } = await sealed('{"a":1}')
  const kid = /"kid":"([\w-]+)"/.exec(
    Buffer.from(/"event":"input","jwe":"([^".]+)/.exec(file)?.[1] ?? '', 'base64url').toString(),
  )?.[1]
  const foreign = JSON.stringify({ kty: 'oct', kid, k: randomBytes(32).toString('base64url') })
  const jwe = await new CompactEncrypt(Buffer.from(foreign))
    .setProtectedHeader({ alg: investigator.alg, enc: 'A256GCM', kid: investigator.kid })
    .encrypt(investigator.key)
  const inputs = await openInputs([written(`${file}${lineOf('input.key', jwe)}`)], mine)
  expect(inputs.wrong).toEqual([])
  expect(await inputs.of(OF, digests[0] ?? '')).toMatchObject({ kind: 'opened' })
})

test('what is no key and no input is named, line by line', async () => {
  const { file, digests } = await sealed('{"a":1}')
  const [key = '', record = ''] = file.split('\n')
  const broken = key.replace(/.{3}"\}$/, 'AAA"}')
  const text = [broken, lineOf('input', 'x.y.z').trim(), 'half', record, ''].join('\n')
  const path = written(text)
  const inputs = await openInputs([path], mine)
  expect(inputs.wrong).toEqual([
    `${path}:1: a content key does not open`,
    `${path}:2: this is no sealed input`,
  ])
  expect(await inputs.of(OF, digests[0] ?? '')).toEqual(why(/a key that none of the files has/))
})
