// Microsoft's own client for Graph, unmodified, through deputy and the starter policy.
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { Client, PageIterator, ResponseType } from '@microsoft/microsoft-graph-client'
import type { PageCollection } from '@microsoft/microsoft-graph-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { backlotMissing, startBacklot } from '../support/backlot.ts'
import type { Backlot } from '../support/backlot.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import type { Seen } from '../support/upstream.ts'
import { relayed, reply, startVendor } from '../support/vendor.ts'
import type { Vendor } from '../support/vendor.ts'

const SCOPES = [
  'User.Read',
  'Mail.ReadWrite',
  'Mail.Send',
  'Files.ReadWrite',
  'Contacts.Read',
  'Calendars.ReadWrite',
  'Team.ReadBasic.All',
  'Channel.ReadBasic.All',
  'ChannelMessage.Read.All',
  'ChannelMessage.Send',
]
const connections = {
  microsoft: { provider: 'microsoft', hosts: ['graph.microsoft.com'], scopes: SCOPES },
}

/** Over plain http the client sends no key at all, so a header names the user. */
const overHttp = (vendor: Vendor, person: string): Client =>
  Client.init({
    baseUrl: `${vendor.deputy.agent}/graph.microsoft.com/`,
    authProvider: (done) => done(null, 'dummy'),
    fetchOptions: { headers: { 'Deputy-User': vendor.tag(person) } },
  })
/** Over TLS the tag goes where the client puts its key. */
const overTls = (vendor: Vendor, person: string): Client =>
  Client.init({
    baseUrl: `${(vendor.deputy.addresses['agent_tls'] ?? '').replace('127.0.0.1', 'localhost')}/graph.microsoft.com/`,
    customHosts: new Set(['localhost']),
    authProvider: (done) => done(null, vendor.tag(person)),
  })

/** The client parses `application/json` only: deputy's own answers come as a stream, without their headers. */
const problem = (error: unknown): Promise<unknown> =>
  new Response((error as { readonly body: ReadableStream }).body).json()

const message = (who: string, n: number) => ({ id: `${who}-${n}`, subject: `number ${n}` })
/** Graph, as far as the calls below go: it knows people by their token alone. */
const graph = ({ who, method, url, body }: Seen, res: Parameters<typeof reply>[0]): void => {
  const { pathname, searchParams } = new URL(url, 'https://graph.microsoft.com')
  const path = pathname.replace('/v1.0/me', '')
  if (who === null)
    return reply(res, 401, { error: { code: 'InvalidAuthenticationToken', message: 'no' } })
  if (path === '/messages' && method === 'GET') {
    const skip = Number(searchParams.get('$skip') ?? 0)
    const value = [1, 2, 3, 4, 5].map((n) => message(who, n)).slice(skip, skip + 2)
    const next = `https://graph.microsoft.com/v1.0/me/messages?$top=2&$skip=${skip + 2}`
    return reply(res, 200, { value, ...(skip < 4 ? { '@odata.nextLink': next } : {}) })
  }
  if (path === '/messages/none')
    return reply(res, 404, {
      error: {
        code: 'ErrorItemNotFound',
        message: 'The specified object was not found in the store.',
        innerError: { 'request-id': 'r-1', date: '2030-01-01T00:00:00' },
      },
    })
  if (path.endsWith('/send') || path === '/sendMail' || path.endsWith('/reply'))
    return reply(res, 202, null)
  if (path.endsWith('/content') && method === 'GET')
    return reply(res, 200, Buffer.from('nine byte'))
  const sent = method === 'PATCH' || method === 'POST' ? JSON.parse(body.toString()) : {}
  return reply(res, method === 'POST' || method === 'PUT' ? 201 : 200, {
    id: 'x',
    mail: `${who}@corp.test`,
    size: body.length,
    ...(sent as object),
  })
}

const needs = opensslMissing()
describe.skipIf(needs !== '')(
  `Graph’s client over TLS, with the tag in its key slot${needs}`,
  () => {
    let folder = ''
    let vendor: Vendor
    const trusted = getCACertificates('default')
    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'deputy-tls-'))
      const { cert, key, pem } = makeCertificate(folder)
      setDefaultCACertificates([...trusted, pem])
      vendor = await startVendor({
        connections,
        held: [
          { person: 'alice', connection: 'microsoft', token: 'eyJ0-alice-0123456789' },
          { person: 'bob', connection: 'microsoft', token: 'eyJ0-bob-0123456789' },
        ],
        listeners: () => ({ agent_tls: { listen: '127.0.0.1:0', cert, key } }),
      })
      vendor.upstream.handle = graph
    })
    afterAll(async () => {
      setDefaultCACertificates(trusted)
      await vendor?.close()
      rmSync(folder, { recursive: true })
    })

    test.each(['alice', 'bob'])('twenty operations arrive as %s’s', async (person) => {
      const client = overTls(vendor, person)
      const as = <T>(operation: string, call: () => Promise<T>): Promise<T> =>
        vendor.through(person, [operation], call)
      const to = [{ emailAddress: { address: 'x@elsewhere.test' } }]
      const me = (await as('user-get', () => client.api('/me').select('id,mail').get())) as {
        readonly mail: string
      }
      expect(me.mail).toBe(`${person}@corp.test`)
      await as('user-list-messages', () =>
        client.api('/me/messages').filter("contains(subject,'a&b')").top(2).get(),
      )
      await as('message-get', () => client.api('/me/messages/m1').get())
      await as('user-list-mailfolders', () => client.api('/me/mailFolders').get())
      await as('user-post-messages', () =>
        client.api('/me/messages').post({ subject: 's', toRecipients: to }),
      )
      await as('message-update', () => client.api('/me/messages/m1').patch({ isRead: true }))
      await as('message-send', () => client.api('/me/messages/m1/send').post({}))
      await as('message-reply', () => client.api('/me/messages/m1/reply').post({ comment: 'yes' }))
      await as('user-sendmail', () =>
        client.api('/me/sendMail').post({ message: { subject: 's', toRecipients: to } }),
      )
      await as('user-list-contacts', () => client.api('/me/contacts').get())
      await as('user-list-events', () =>
        client.api('/me/events').header('Prefer', 'odata.maxpagesize=5').get(),
      )
      await as('user-list-calendarview', () =>
        client
          .api('/me/calendarView')
          .query({ startDateTime: '2030-01-01T00:00:00Z', endDateTime: '2030-01-02T00:00:00Z' })
          .get(),
      )
      await as('event-get', () => client.api('/me/events/e1').get())
      await as('user-post-events', () => client.api('/me/events').post({ subject: 'talk' }))
      await as('event-update', () => client.api('/me/events/e1').patch({ subject: 'talks' }))
      await as('drive-get', () => client.api('/me/drive').get())
      await as('driveitem-list-children', () => client.api('/me/drive/root/children').get())
      await as('driveitem-get', () => client.api('/me/drive/items/i1').get())
      const content = (await as('driveitem-get-content', () =>
        client.api('/me/drive/items/i1/content').responseType(ResponseType.ARRAYBUFFER).get(),
      )) as ArrayBuffer
      expect(Buffer.from(content).toString()).toBe('nine byte')
      for (const path of [
        'items/i1/content',
        'root:/notes.txt:/content',
        'items/i1:/notes.txt:/content',
      ])
        expect(
          await as('driveitem-put-content', () =>
            client.api(`/me/drive/${path}`).put(Buffer.from('nine byte')),
          ),
        ).toMatchObject({ size: 9 })
    })

    test('its page iterator follows next links through deputy to the end', async () => {
      const client = overTls(vendor, 'alice')
      const subjects: string[] = []
      await vendor.through('alice', Array<string>(3).fill('user-list-messages'), async () => {
        const first = (await client.api('/me/messages').top(2).get()) as PageCollection
        const pages = new PageIterator(client, first, (one: { readonly subject: string }) =>
          Boolean(subjects.push(one.subject)),
        )
        await pages.iterate()
      })
      expect(subjects).toEqual([1, 2, 3, 4, 5].map((n) => `number ${n}`))
    })

    test('a download elsewhere is followed by the client, with neither tag nor token', async () => {
      const seen: (readonly unknown[])[] = []
      const elsewhere = createServer((req, res) => {
        seen.push([req.headers.authorization, req.headers['deputy-user']])
        res.end('nine byte')
      })
      await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve))
      const location = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/content?sig=1`
      vendor.upstream.handle = (_seen, res) => reply(res, 302, null, { location })
      try {
        const get = (client: Client): Promise<unknown> =>
          vendor.through('alice', ['driveitem-get-content'], () =>
            client.api('/me/drive/items/i1/content').responseType(ResponseType.ARRAYBUFFER).get(),
          )
        const content = (await get(overTls(vendor, 'alice'))) as ArrayBuffer
        expect(Buffer.from(content).toString()).toBe('nine byte')
        expect(seen).toEqual([[undefined, undefined]])
        // A header of one's own is carried along by the client: another reason for its key slot.
        await get(overHttp(vendor, 'alice'))
        expect(seen[1]).toEqual([undefined, vendor.tag('alice')])
      } finally {
        vendor.upstream.handle = graph
        elsewhere.close()
      }
    })

    test('Graph’s own error reaches the caller as Graph worded it', async () => {
      await expect(overTls(vendor, 'alice').api('/me/messages/none').get()).rejects.toMatchObject({
        statusCode: 404,
        code: 'ErrorItemNotFound',
        requestId: 'r-1',
      })
    })

    test.each([
      ['carol', 'policy_denied'],
      ['dave', 'consent_required'],
    ])('for %s the error of the client tells of %s', async (person, code) => {
      const error = await vendor.refused(person, 'user-get', () =>
        overTls(vendor, person).api('/me').get(),
      )
      expect(error).toMatchObject({ statusCode: 403, code })
      // What the client shows its user is our sentence, with the link.
      expect((error as Error).message).toContain(
        code === 'consent_required' ? 'http://localhost:' : 'The security policy does not allow',
      )
    })
  },
)

const missing = backlotMissing()
describe.skipIf(missing !== '')(
  `Graph’s client and a Teams that knows its people${missing}`,
  () => {
    let backlot: Backlot
    let vendor: Vendor
    beforeAll(async () => {
      backlot = await startBacklot()
      vendor = await startVendor({
        connections,
        held: [
          { person: 'alice', connection: 'microsoft', token: backlot.token('ava.chen') },
          {
            person: 'bob',
            connection: 'microsoft',
            token: 'eyJ0-bob-which-microsoft-ended-early',
            refresh: '0.AX-bob-1',
            agedMs: 60_000,
          },
        ],
      })
      vendor.upstream.handle = relayed(backlot.origin, 'graph.microsoft.com', '/msgraph')
    })
    afterAll(async () => {
      await vendor?.close()
      await backlot?.close()
    })

    test('a header names the user over plain http: teams, channels, messages, as the person', async () => {
      const client = overHttp(vendor, 'alice')
      const as = async (operation: string, path: string) =>
        (await vendor.through('alice', [operation], () => client.api(path).get())) as {
          readonly mail: string
          readonly value: readonly { readonly id: string }[]
          readonly '@odata.nextLink'?: string
        }
      expect((await as('user-get', '/me')).mail).toBe('ava.chen@acme.com')
      const [team] = (await as('user-list-joinedteams', '/me/joinedTeams')).value
      const { value: channels } = await as('channel-list', `/teams/${team?.id}/channels`)
      const channel = `/teams/${team?.id}/channels/${channels[0]?.id}`
      await as('channel-get', channel)
      const page = await as('channel-list-messages', `${channel}/messages?$top=1`)
      const here = `${vendor.deputy.agent}/graph.microsoft.com/v1.0`
      const next = page['@odata.nextLink'] ?? ''
      expect(next.startsWith(`${here}/teams/`)).toBe(true)
      // The client takes absolute addresses over https only; behind the host this one is a path like any other.
      const second = await as('channel-list-messages', next.replace(here, ''))
      expect(second.value[0]?.id).not.toBe(page.value[0]?.id)
      const message = `${channel}/messages/${page.value[0]?.id}`
      await as('chatmessage-get', message)
      await as('chatmessage-list-replies', `${message}/replies`)
      // Glued behind its own base, the address has two readings: refused, and no endless loop.
      const glued: unknown = await client
        .api(next)
        .get()
        .catch((error: unknown) => error)
      expect(await problem(glued)).toMatchObject({ status: 400, code: 'request_invalid' })
    })

    test('a token that Microsoft ended early is renewed, and the client notices nothing', async () => {
      vendor.upstream.people.set(backlot.token('bob.iyer'), 'bob')
      vendor.upstream.token = (form, res) => {
        expect(form.get('refresh_token')).toBe('0.AX-bob-1')
        reply(res, 200, {
          token_type: 'Bearer',
          scope: SCOPES.map((scope) => `https://graph.microsoft.com/${scope}`).join(' '),
          expires_in: 4_211,
          access_token: backlot.token('bob.iyer'),
          refresh_token: '0.AX-bob-2',
        })
      }
      const me = (await vendor.through('bob', ['user-get'], () =>
        overHttp(vendor, 'bob').api('/me').get(),
      )) as { readonly mail: string }
      expect(me.mail).toBe('bob.iyer@acme.com')
      expect(vendor.upstream.refreshes.length).toBe(1)
    })
  },
)
