// Google's own clients for Gmail, Calendar and Drive, unmodified, through deputy and the starter policy.
import { Agent } from 'node:http'
import { calendar as calendarApi } from '@googleapis/calendar'
import { drive as driveApi } from '@googleapis/drive'
import { auth, gmail as gmailApi } from '@googleapis/gmail'
import { createEmulator } from 'emulate'
import type { Emulator } from 'emulate'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { backlotMissing, startBacklot } from '../support/backlot.ts'
import type { Backlot } from '../support/backlot.ts'
import { relayed, reply, startVendor } from '../support/vendor.ts'
import type { Vendor } from '../support/vendor.ts'

const G = 'https://www.googleapis.com/auth'
const SCOPES = [`${G}/gmail.modify`, `${G}/calendar`, `${G}/drive`]
const HOSTS = ['gmail.googleapis.com', 'www.googleapis.com']
const connections = { google: { provider: 'google', hosts: HOSTS, scopes: SCOPES } }

/** The key slot of Google's clients, with the tag in it. */
const slot = (vendor: Vendor, person: string) => {
  const client = new auth.OAuth2()
  client.setCredentials({ access_token: vendor.tag(person) })
  return client
}
const clients = (vendor: Vendor, person: string) => {
  const options = {
    auth: slot(vendor, person),
    fetchImplementation: (url: unknown, init?: RequestInit) =>
      fetch(String(url).replace('https://', `${vendor.deputy.agent}/`), init),
  }
  return {
    gmail: gmailApi({ version: 'v1', ...options }),
    calendar: calendarApi({ version: 'v3', ...options }),
    drive: driveApi({ version: 'v3', ...options }),
  }
}
type Document = Readonly<Record<string, unknown>>
/** deputy's answer comes in Google's own error shape, so the client shows our sentence as its message. */
const problem = (error: unknown): Document => {
  const { response, message } = error as Error & {
    readonly response: { headers: Headers; data: Document }
  }
  const document = response.data
  expect(message).toBe(document['detail'])
  return { ...document, answer: response.headers.get('deputy-answer') }
}
const mail = (to: string, subject: string): string =>
  Buffer.from(`To: ${to}\r\nSubject: ${subject}\r\n\r\nhello`).toString('base64url')

describe('Google’s clients and an emulator that knows mail, calendar and files', () => {
  const [ALICE, BOB] = ['alice@corp.test', 'bob@corp.test']
  let emulator: Emulator
  let vendor: Vendor
  beforeAll(async () => {
    const message = (user_email: string, n: number) => ({
      id: `m-${user_email}-${n}`,
      user_email,
      from: 'x@elsewhere.test',
      to: user_email,
      subject: `number ${n}`,
      body_text: 'hello',
    })
    emulator = await createEmulator({
      service: 'google',
      port: 0,
      hostname: '127.0.0.1',
      seed: {
        tokens: {
          'ya29-alice-0123456789': { login: ALICE, scopes: SCOPES },
          'ya29-bob-0123456789': { login: BOB, scopes: SCOPES },
        },
        google: {
          // Whoever brings a token that it does not know is taken for the first one.
          users: [{ email: 'fallback@corp.test' }, { email: ALICE }, { email: BOB }],
          messages: [ALICE, BOB].flatMap((who) => [1, 2, 3, 4, 5].map((n) => message(who, n))),
          calendars: [ALICE, BOB].map((who) => ({
            id: who,
            user_email: who,
            summary: who,
            primary: true,
          })),
        },
      },
    })
    vendor = await startVendor({
      connections,
      held: [
        { person: 'alice', connection: 'google', token: 'ya29-alice-0123456789' },
        { person: 'bob', connection: 'google', token: 'ya29-bob-0123456789' },
      ],
    })
    vendor.upstream.handle = relayed(emulator.url, 'www.googleapis.com')
  })
  afterAll(async () => {
    await vendor?.close()
    await emulator?.close()
  })

  test.each([
    ['alice', ALICE],
    ['bob', BOB],
  ])('mail of %s: ten operations, all as %s', async (person, address) => {
    const { gmail } = clients(vendor, person)
    const as = <T>(operation: string, call: () => Promise<T>) =>
      vendor.through(person, [`gmail.users.${operation}`], call)
    const userId = 'me'
    const labels = await as('labels.list', () => gmail.users.labels.list({ userId }))
    expect(labels.data.labels?.length).toBeGreaterThan(0)
    const all = await as('messages.list', () => gmail.users.messages.list({ userId }))
    const ids = all.data.messages?.map(({ id }) => id ?? '') ?? []
    expect(ids.every((id) => id.includes(address))).toBe(true)
    const [id = ''] = ids
    const got = await as('messages.get', () => gmail.users.messages.get({ userId, id }))
    await as('messages.modify', () =>
      gmail.users.messages.modify({ userId, id, requestBody: { addLabelIds: ['STARRED'] } }),
    )
    const threads = await as('threads.list', () => gmail.users.threads.list({ userId }))
    expect(threads.data.threads?.length).toBeGreaterThan(0)
    await as('threads.get', () => gmail.users.threads.get({ userId, id: got.data.threadId ?? '' }))
    const draft = await as('drafts.create', () =>
      gmail.users.drafts.create({
        userId,
        requestBody: { message: { raw: mail('y@elsewhere.test', 'one') } },
      }),
    )
    const draftId = draft.data.id ?? ''
    await as('drafts.update', () =>
      gmail.users.drafts.update({
        userId,
        id: draftId,
        requestBody: { message: { raw: mail('y@elsewhere.test', 'two') } },
      }),
    )
    await as('drafts.get', () => gmail.users.drafts.get({ userId, id: draftId }))
    await as('drafts.list', () => gmail.users.drafts.list({ userId }))
    await as('drafts.send', () => gmail.users.drafts.send({ userId, requestBody: { id: draftId } }))
    const sent = await as('messages.send', () =>
      gmail.users.messages.send({
        userId,
        requestBody: { raw: mail('z@elsewhere.test', 'three') },
      }),
    )
    expect(sent.data.labelIds).toContain('SENT')
    await as('history.list', () =>
      gmail.users.history.list({ userId, startHistoryId: got.data.historyId ?? '1' }),
    )
  })

  test('a walk over pages stays in deputy and ends where one page would', async () => {
    const { gmail } = clients(vendor, 'alice')
    const whole = await gmail.users.messages.list({ userId: 'me', q: 'number' })
    const walked: (string | null | undefined)[] = []
    const pages = Math.ceil((whole.data.messages?.length ?? 0) / 2)
    await vendor.through(
      'alice',
      Array<string>(pages).fill('gmail.users.messages.list'),
      async () => {
        const page = { userId: 'me', q: 'number', maxResults: 2 }
        let { data } = await gmail.users.messages.list(page)
        for (;;) {
          walked.push(...(data.messages ?? []).map(({ id }) => id))
          const pageToken = data.nextPageToken
          if (!pageToken) return
          ;({ data } = await gmail.users.messages.list({ ...page, pageToken }))
        }
      },
    )
    expect(pages).toBeGreaterThan(1)
    expect(walked).toEqual(whole.data.messages?.map(({ id }) => id))
  })

  test('calendar and files: the person’s own, with an upload and a download', async () => {
    const { calendar, drive } = clients(vendor, 'bob')
    const as = <T>(operation: string, call: () => Promise<T>) =>
      vendor.through('bob', [operation], call)
    const calendars = await as('calendar.calendarList.list', () => calendar.calendarList.list())
    expect(calendars.data.items?.map(({ id }) => id)).toContain(BOB)
    const [start, end] = [
      { dateTime: '2030-01-01T10:00:00Z' },
      { dateTime: '2030-01-01T11:00:00Z' },
    ]
    await as('calendar.events.insert', () =>
      calendar.events.insert({
        calendarId: 'primary',
        requestBody: { summary: 'talk', start, end },
      }),
    )
    const events = await as('calendar.events.list', () =>
      calendar.events.list({ calendarId: 'primary' }),
    )
    expect(events.data.items?.map(({ summary }) => summary)).toContain('talk')
    await as('calendar.freebusy.query', () =>
      calendar.freebusy.query({
        requestBody: { timeMin: start.dateTime, timeMax: end.dateTime, items: [{ id: 'primary' }] },
      }),
    )
    const made = await as('drive.files.create', () =>
      drive.files.create({
        requestBody: { name: 'notes.txt' },
        media: { mimeType: 'text/plain', body: 'nine byte' },
      }),
    )
    const fileId = made.data.id ?? ''
    const file = await as('drive.files.get', () =>
      drive.files.get({ fileId, alt: 'media' }, { responseType: 'text' }),
    )
    expect(file.data).toBe('nine byte')
    await as('drive.files.update', () =>
      drive.files.update({ fileId, requestBody: { name: 'more.txt' } }),
    )
    const files = await as('drive.files.list', () => drive.files.list())
    expect(files.data.files?.map(({ name }) => name)).toContain('more.txt')
    const other = await clients(vendor, 'alice').drive.files.list()
    expect(other.data.files?.map(({ name }) => name)).not.toContain('more.txt')
  })

  test('rootUrl with the host in its path works for each call, and uploads too', async () => {
    const way = { auth: slot(vendor, 'alice') }
    const at = (host: string) => ({ rootUrl: `${vendor.deputy.agent}/${host}/` })
    const labels = await vendor.through('alice', ['gmail.users.labels.list'], () =>
      gmailApi({ version: 'v1', ...way }).users.labels.list(
        { userId: 'me' },
        at('gmail.googleapis.com'),
      ),
    )
    expect(labels.data.labels?.length).toBeGreaterThan(0)
    await vendor.through('alice', ['drive.files.create'], () =>
      driveApi({ version: 'v3', ...way }).files.create(
        { requestBody: { name: 'a.txt' }, media: { mimeType: 'text/plain', body: 'a' } },
        at('www.googleapis.com'),
      ),
    )
    // Given to the API as a whole, the path in it is dropped: nothing leaves.
    const whole = gmailApi({ version: 'v1', ...way, ...at('gmail.googleapis.com') })
    await expect(whole.users.getProfile({ userId: 'me' })).rejects.toMatchObject({ status: 404 })
  })

  test('an API key of the agent’s goes nowhere', async () => {
    const { gmail } = clients(vendor, 'alice')
    const { data } = await vendor.through('alice', ['gmail.users.messages.list'], () =>
      gmail.users.messages.list({
        userId: 'me',
        q: 'number',
        key: 'AIza-dummy',
        quotaUser: 'dummy',
      }),
    )
    expect(data.messages?.[0]?.id).toContain(ALICE)
  })

  test('no bytes go to an upload that somebody else began', async () => {
    const upload = `${vendor.deputy.agent}/www.googleapis.com/upload/drive/v3/files`
    await vendor.through('alice', ['drive.files.create'], () =>
      fetch(`${upload}?uploadType=resumable&upload_id=of-another`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${vendor.tag('alice')}`,
          'content-type': 'application/octet-stream',
        },
        body: 'a secret',
      }),
    )
    expect(vendor.upstream.seen.at(-1)?.url).toBe('/upload/drive/v3/files?uploadType=resumable')
  })

  test('what nobody granted to developers is refused: deleting', async () => {
    const { drive } = clients(vendor, 'bob')
    const error = await vendor.refused('bob', 'drive.files.delete', () =>
      drive.files.delete({ fileId: 'x' }),
    )
    expect(problem(error)).toMatchObject({ status: 403, answer: 'policy_denied' })
  })

  test.each([
    ['carol', 'policy_denied'],
    ['dave', 'consent_required'],
  ])('for %s the error of the client tells of %s', async (person, code) => {
    const error = await vendor.refused(person, 'gmail.users.getProfile', () =>
      clients(vendor, person).gmail.users.getProfile({ userId: 'me' }),
    )
    expect(problem(error)).toMatchObject({
      code,
      answer: code,
      ...(code === 'consent_required' ? { url: expect.any(String) } : {}),
    })
  })
})

test('a listener for each host, or its name, takes the place of the path: rootUrl for the API as a whole', async () => {
  const vendor = await startVendor({
    connections,
    held: [{ person: 'alice', connection: 'google', token: 'ya29-alice-0123456789' }],
    listeners: () => ({ extra: [{ listen: '127.0.0.1:0', upstream: 'gmail.googleapis.com' }] }),
  })
  try {
    vendor.upstream.handle = ({ who, url }, res) => reply(res, 200, { emailAddress: who, url })
    const gmail = gmailApi({
      version: 'v1',
      rootUrl: vendor.deputy.addresses['extra.0'] ?? '',
      auth: slot(vendor, 'alice'),
    })
    const { data } = await vendor.through('alice', ['gmail.users.getProfile'], () =>
      gmail.users.getProfile({ userId: 'me' }),
    )
    expect(data.emailAddress).toBe('alice')

    // The same by name, where the name resolves: here it is told to.
    const named = gmailApi({
      version: 'v1',
      rootUrl: vendor.deputy.agent.replace('127.0.0.1', 'gmail.googleapis.com.localhost'),
      agent: new Agent({
        lookup: (_name, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
      }),
      auth: slot(vendor, 'alice'),
    })
    const again = await vendor.through('alice', ['gmail.users.getProfile'], () =>
      named.users.getProfile({ userId: 'me' }),
    )
    expect(again.data.emailAddress).toBe('alice')

    // Its uploads take no notice of that rootUrl: they would go to Google, with the tag.
    const asked: string[] = []
    const drive = driveApi({
      version: 'v3',
      rootUrl: vendor.deputy.addresses['extra.0'] ?? '',
      fetchImplementation: (url: unknown) => {
        asked.push(new URL(String(url)).host)
        return Promise.resolve(Response.json({}))
      },
    })
    await drive.files.create({ requestBody: {}, media: { body: 'a' } })
    expect(asked).toEqual(['www.googleapis.com'])
  } finally {
    await vendor.close()
  }
})

const missing = backlotMissing()
describe.skipIf(missing !== '')(`Google’s clients and a Google that refuses junk${missing}`, () => {
  let backlot: Backlot
  let vendor: Vendor
  beforeAll(async () => {
    backlot = await startBacklot()
    vendor = await startVendor({
      connections,
      held: [
        { person: 'alice', connection: 'google', token: backlot.token('ava.chen') },
        {
          person: 'bob',
          connection: 'google',
          token: 'ya29-bob-which-google-ended-early',
          refresh: '1//bob',
          agedMs: 60_000,
        },
      ],
    })
    vendor.upstream.handle = relayed(backlot.origin, 'www.googleapis.com')
  })
  afterAll(async () => {
    await vendor?.close()
    await backlot?.close()
  })

  test('reads of mail and files are those of the person, and a missing thing is Google’s own 404', async () => {
    const { gmail, drive } = clients(vendor, 'alice')
    const as = <T>(operation: string, call: () => Promise<T>) =>
      vendor.through('alice', [operation], call)
    const me = await as('gmail.users.getProfile', () => gmail.users.getProfile({ userId: 'me' }))
    expect(me.data.emailAddress).toBe('ava.chen@acme.com')
    const about = await as('drive.about.get', () => drive.about.get({ fields: 'user' }))
    expect(about.data.user?.emailAddress).toBe('ava.chen@acme.com')
    const { data } = await as('drive.files.list', () => drive.files.list({ pageSize: 3 }))
    const fileId = data.files?.[0]?.id ?? ''
    await as('drive.permissions.list', () => drive.permissions.list({ fileId }))
    await expect(drive.files.get({ fileId: 'nothing' })).rejects.toMatchObject({
      status: 404,
      response: { data: { error: { code: 404, errors: [{ reason: 'notFound' }] } } },
    })
  })

  test('a token that Google ended early is renewed, and the client notices nothing', async () => {
    vendor.upstream.people.set(backlot.token('bob.iyer'), 'bob')
    vendor.upstream.token = (form, res) => {
      expect(form.get('refresh_token')).toBe('1//bob')
      reply(res, 200, {
        access_token: backlot.token('bob.iyer'),
        expires_in: 3599,
        scope: SCOPES.join(' '),
        token_type: 'Bearer',
      })
    }
    const { gmail } = clients(vendor, 'bob')
    const me = await vendor.through('bob', ['gmail.users.getProfile'], () =>
      gmail.users.getProfile({ userId: 'me' }),
    )
    expect(me.data.emailAddress).toBe('bob.iyer@acme.com')
    expect(vendor.upstream.refreshes.length).toBe(1)
  })
})
