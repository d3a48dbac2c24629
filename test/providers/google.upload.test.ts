// Resumable uploads to Drive: the address at which one goes on is its person's and agent's alone.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { reply, startVendor } from '../support/vendor.ts'
import type { Vendor } from '../support/vendor.ts'

const SCOPES = ['drive.file', 'gmail.modify'].map(
  (name) => `https://www.googleapis.com/auth/${name}`,
)
const HOST = 'www.googleapis.com'
const MAIL = 'gmail.googleapis.com'
const FILES = '/upload/drive/v3/files'
/** What each upload holds by now, by its id. */
const held = new Map<string, Buffer>()
const CHUNK = 256 * 1_024
const TEXT = Buffer.from(Array.from({ length: 700_000 }, (_, i) => i % 251))

describe('an upload in pieces', () => {
  let vendor: Vendor
  beforeAll(async () => {
    vendor = await startVendor({
      connections: { google: { provider: 'google', hosts: [HOST, MAIL], scopes: SCOPES } },
      held: ['alice', 'bob'].map((person) => ({
        person,
        connection: 'google',
        token: `ya29-${person}-0123456789`,
      })),
    })
    vendor.upstream.handle = ({ url, body, headers }, res): void => {
      const { pathname, searchParams } = new URL(url, 'http://vendor.test')
      const id = searchParams.get('upload_id')
      if (id === null) {
        const made = `ABPtcPqZ${held.size}Yx-${Buffer.from(pathname).toString('base64url')}`
        held.set(made, Buffer.alloc(0))
        const location = `https://${pathname.includes('gmail') ? MAIL : HOST}${pathname}?uploadType=resumable&upload_id=${made}`
        return reply(res, 200, null, { location })
      }
      const all = Buffer.concat([held.get(id) ?? Buffer.alloc(0), body])
      held.set(id, all)
      const total = Number(/\/(\d+)$/.exec(String(headers['content-range']))?.[1])
      if (all.length < total)
        return void res.writeHead(308, { range: `bytes=0-${all.length - 1}` }).end()
      return reply(res, 200, { id: 'f1', size: all.length })
    }
  })
  afterAll(() => vendor?.close())

  const begin = async (
    person: string,
    method: 'POST' | 'PATCH' = 'POST',
    path = FILES,
  ): Promise<string> => {
    const answer = await fetch(`${vendor.deputy.agent}/${HOST}${path}?uploadType=resumable`, {
      method,
      headers: { 'deputy-user': vendor.tag(person), 'content-type': 'application/json' },
      body: '{"name":"a.bin"}',
    })
    expect(answer.status).toBe(200)
    return answer.headers.get('location') ?? ''
  }
  const piece = (
    person: string,
    location: string,
    from: number,
    method: 'PUT' | 'POST' | 'PATCH',
  ) => {
    const bytes = TEXT.subarray(from, from + CHUNK)
    return fetch(location, {
      method,
      headers: {
        'deputy-user': vendor.tag(person),
        'content-type': 'application/octet-stream',
        'content-range': `bytes ${from}-${from + bytes.length - 1}/${TEXT.length}`,
      },
      body: bytes,
      redirect: 'manual',
    })
  }
  const sent = (): string => vendor.upstream.seen.at(-1)?.url ?? ''

  test.each<readonly [string, 'POST' | 'PATCH', string, 'PUT' | 'POST', string]>([
    ['a new file, by PUT', 'POST', FILES, 'PUT', 'drive.files.create'],
    ['a new file, by POST as Go does', 'POST', FILES, 'POST', 'drive.files.create'],
    ['a file that is there', 'PATCH', `${FILES}/f1`, 'PUT', 'drive.files.update'],
  ])('arrives whole: %s', async (_what, first, path, then, operation) => {
    const count = Math.ceil(TEXT.length / CHUNK)
    await vendor.through('alice', Array<string>(count + 1).fill(operation), async () => {
      const location = await begin('alice', first, path)
      expect(location).toContain(`${vendor.deputy.agent}/${HOST}${path}?`)
      for (let n = 0; n < count; n += 1) {
        const answer = await piece('alice', location, n * CHUNK, then)
        expect(answer.status).toBe(n === count - 1 ? 200 : 308)
        if (answer.status === 308)
          expect(answer.headers.get('range')).toBe(`bytes=0-${(n + 1) * CHUNK - 1}`)
        await answer.arrayBuffer()
      }
      expect([...held.values()].at(-1)?.equals(TEXT)).toBe(true)
    })
  })

  test('nobody else goes on with it, nothing else is opened by its seal, and reading is another matter', async () => {
    const location = await begin('alice')
    for (const [person, address, method] of [
      ['bob', location, 'PUT'],
      ['alice', location.replace('ABPtc', 'XBPtc'), 'PUT'],
      ['alice', location.replace(/&deputy_seal.*/, ''), 'PUT'],
      ['alice', location.replace(`${FILES}?`, `${FILES}/f2?`), 'PUT'],
      ['alice', location, 'PATCH'],
    ] as const) {
      await piece(person, address, 0, method).then((answer) => answer.arrayBuffer())
      expect([person, method, sent()]).toEqual([
        person,
        method,
        expect.not.stringContaining('upload_id'),
      ])
    }
  })

  test('a mail does not go up in pieces, of which none says to whom it goes', async () => {
    const path = '/upload/gmail/v1/users/me/drafts/d1'
    const answer = await fetch(`${vendor.deputy.agent}/${MAIL}${path}?uploadType=resumable`, {
      method: 'PUT',
      headers: { 'deputy-user': vendor.tag('alice'), 'content-type': 'application/json' },
      body: '{}',
    })
    expect(answer.status).toBe(200)
    const location = answer.headers.get('location') ?? ''
    await piece('alice', location, 0, 'PUT').then((said) => said.arrayBuffer())
    expect(sent()).not.toContain('upload_id')
  })

  test('an address that the agent brought is not sealed', async () => {
    const answer = await fetch(
      `${vendor.deputy.agent}/${HOST}${FILES}?uploadType=resumable&upload_id=of-another`,
      { method: 'POST', headers: { 'deputy-user': vendor.tag('alice') } },
    )
    expect(answer.status).toBe(200)
    expect(sent()).toBe(`${FILES}?uploadType=resumable`)
  })
})
