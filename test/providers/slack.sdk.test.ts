// Slack's own client, unmodified, through deputy and the starter policy.
/* oxlint-disable unicorn/require-post-message-target-origin -- chat.postMessage is no window */
import { WebClient } from '@slack/web-api'
import type { WebClientOptions } from '@slack/web-api'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { backlotMissing, startBacklot } from '../support/backlot.ts'
import type { Backlot } from '../support/backlot.ts'
import { relayed, reply, startVendor } from '../support/vendor.ts'
import type { Vendor } from '../support/vendor.ts'

const HOSTS = ['slack.com', 'files.slack.com']
const SCOPES = [
  'channels:read',
  'channels:history',
  'users:read',
  'search:read',
  'files:read',
  'files:write',
  'reactions:read',
  'reactions:write',
  'chat:write',
]
// Without it the client asks again ten times in thirty minutes, whoever refused.
const quiet: WebClientOptions = { retryConfig: { retries: 0 } }

const client = (vendor: Vendor, person: string, more: WebClientOptions = {}): WebClient =>
  new WebClient(vendor.tag(person), {
    slackApiUrl: `${vendor.deputy.agent}/slack.com/api/`,
    ...quiet,
    ...more,
  })

const missing = backlotMissing()
describe.skipIf(missing !== '')(
  `Slack’s client and a Slack that knows its people${missing}`,
  () => {
    let backlot: Backlot
    let vendor: Vendor
    beforeAll(async () => {
      backlot = await startBacklot()
      const connections = { slack: { provider: 'slack', hosts: HOSTS, scopes: SCOPES } }
      vendor = await startVendor({
        connections,
        held: [
          { person: 'alice', connection: 'slack', token: backlot.token('ava.chen') },
          { person: 'bob', connection: 'slack', token: backlot.token('bob.iyer') },
          { person: 'rita', connection: 'slack', token: backlot.token('mia.okafor') },
        ],
      })
      vendor.upstream.handle = relayed(backlot.origin, 'slack.com', '/slack')
    })
    afterAll(async () => {
      await vendor?.close()
      await backlot?.close()
    })

    test.each([
      ['alice', 'avachen'],
      ['bob', 'bobiyer'],
    ])('%s is %s there, whoever the client’s key slot says', async (person, user) => {
      const slack = client(vendor, person)
      const me = await vendor.through(person, ['auth.test'], () => slack.auth.test())
      expect(me.user).toBe(user)
    })

    test('ten reads arrive as the operations that they are, and so does a walk over pages', async () => {
      const slack = client(vendor, 'alice')
      const as = <T>(operation: string, call: () => Promise<T>) =>
        vendor.through('alice', [operation], call)
      const { channels = [] } = await as('conversations.list', () => slack.conversations.list())
      const channel = channels[0]?.id ?? ''
      expect(channel).not.toBe('')
      await as('conversations.info', () => slack.conversations.info({ channel }))
      const { members = [] } = await as('conversations.members', () =>
        slack.conversations.members({ channel }),
      )
      await as('users.info', () => slack.users.info({ user: members[0] ?? '' }))
      const { messages = [] } = await as('conversations.history', () =>
        slack.conversations.history({ channel }),
      )
      const ts = messages[0]?.ts ?? ''
      await as('conversations.replies', () => slack.conversations.replies({ channel, ts }))
      await as('chat.getPermalink', () => slack.chat.getPermalink({ channel, message_ts: ts }))
      await as('search.messages', () => slack.search.messages({ query: 'the' }))
      await as('reactions.get', () => slack.reactions.get({ channel, timestamp: ts }))

      const all = await as('users.list', () => slack.users.list({}))
      const walked: (string | undefined)[] = []
      const pages = Math.ceil((all.members?.length ?? 0) / 4)
      await vendor.through('alice', Array<string>(pages).fill('users.list'), async () => {
        for await (const page of slack.paginate('users.list', { limit: 4 }))
          walked.push(...((page as typeof all).members ?? []).map(({ id }) => id))
      })
      expect(pages).toBeGreaterThan(1)
      expect(walked).toEqual(all.members?.map(({ id }) => id))
    })

    test('writes are the person’s own: Slack names the author', async () => {
      const slack = client(vendor, 'bob')
      const as = <T>(operation: string, call: () => Promise<T>) =>
        vendor.through('bob', [operation], call)
      const { user_id = '' } = await slack.auth.test()
      const { channels = [] } = await slack.conversations.list()
      const channel = channels.find(({ is_member: member }) => member)?.id ?? ''
      const posted = await as('chat.postMessage', () =>
        slack.chat.postMessage({ channel, text: 'hello', blocks: [{ type: 'divider' }] }),
      )
      expect(posted.message?.user).toBe(user_id)
      const ts = posted.ts ?? ''
      await as('chat.update', () => slack.chat.update({ channel, ts, text: 'hello again' }))
      await as('chat.postEphemeral', () =>
        slack.chat.postEphemeral({ channel, user: user_id, text: 'psst' }),
      )
      await as('reactions.add', () => slack.reactions.add({ channel, timestamp: ts, name: 'eyes' }))
      await as('reactions.remove', () =>
        slack.reactions.remove({ channel, timestamp: ts, name: 'eyes' }),
      )
      const history = await slack.conversations.history({ channel, limit: 1 })
      expect(history.messages?.[0]).toMatchObject({ text: 'hello again', user: user_id })
    })

    test('a token in the arguments goes into header and body, and leaves in neither', async () => {
      const slack = client(vendor, 'alice')
      const me = await vendor.through('alice', ['auth.test'], () =>
        slack.auth.test({ token: vendor.tag('alice') }),
      )
      expect(me.user).toBe('avachen')
      const forged = await vendor.through('alice', ['auth.test'], () =>
        client(vendor, 'alice', { headers: { 'Deputy-User': vendor.tag('alice') } }).auth.test({
          token: 'xoxp-dummy-of-the-model',
        }),
      )
      expect(forged.user).toBe('avachen')
    })

    test('Slack’s own refusal reaches the caller as Slack worded it', async () => {
      const call = client(vendor, 'alice').conversations.info({ channel: 'C0NOWHERE' })
      await expect(call).rejects.toMatchObject({
        code: 'slack_webapi_platform_error',
        data: { ok: false, error: 'channel_not_found' },
      })
    })

    test.each([
      ['carol', 'auth.test', 'policy_denied'],
      ['dave', 'auth.test', 'consent_required'],
    ])('for %s the error of the client tells %s’s %s', async (person, operation, code) => {
      const error = await vendor.refused(person, operation, () =>
        client(vendor, person).auth.test(),
      )
      expect(error).toMatchObject({
        code: 'slack_webapi_http_error',
        statusCode: 403,
        headers: { 'deputy-answer': code },
        body: { code, ...(code === 'consent_required' ? { url: expect.any(String) } : {}) },
      })
    })

    test('who may only read cannot post', async () => {
      const slack = client(vendor, 'rita')
      await vendor.through('rita', ['auth.test'], () => slack.auth.test())
      const error = await vendor.refused('rita', 'chat.postMessage', () =>
        slack.chat.postMessage({ channel: 'C1', text: 'x' }),
      )
      expect(error).toMatchObject({ headers: { 'deputy-answer': 'policy_denied' } })
    })
  },
)

describe('Slack’s two kinds of token, its files and its refresh', () => {
  const HELD = {
    alice: 'xoxp-alice-0123456789',
    bot: 'xoxb-bot-of-alice-0123456789',
    stale: 'xoxe.xoxp-bob-stale-0123456789',
  }
  let vendor: Vendor
  beforeAll(async () => {
    vendor = await startVendor({
      connections: {
        slack: { provider: 'slack', hosts: HOSTS, scopes: SCOPES },
        'slack-bot': {
          provider: 'slack',
          hosts: ['slack.com'],
          scopes: ['chat:write'],
          more: { slot: 'bot' },
        },
      },
      held: [
        { person: 'alice', connection: 'slack', token: HELD.alice },
        { person: 'alice', connection: 'slack-bot', token: HELD.bot },
        {
          person: 'bob',
          connection: 'slack',
          token: HELD.stale,
          refresh: 'xoxe-1-bob',
          expiresIn: 43_200,
          agedMs: 43_200_000,
        },
      ],
    })
  })
  afterAll(() => vendor.close())
  beforeEach(() => {
    vendor.upstream.seen.length = 0
    vendor.upstream.handle = (seen, res) =>
      reply(res, 200, { ok: seen.who !== null, token: seen.headers.authorization?.slice(7, 11) })
  })
  const at = (connection: string, person: string): WebClient =>
    client(vendor, person, { slackApiUrl: `${vendor.deputy.agent}/${connection}@slack.com/api/` })

  test('the connection’s slot says whose token goes: the person’s or their bot’s', async () => {
    const said: unknown[] = []
    for (const connection of ['slack', 'slack-bot'])
      said.push(
        await vendor.through('alice', ['auth.test'], () => at(connection, 'alice').auth.test()),
      )
    expect(said).toMatchObject([{ token: 'xoxp' }, { token: 'xoxb' }])
    const ambiguous = client(vendor, 'alice').auth.test()
    await expect(ambiguous).rejects.toMatchObject({ body: { code: 'connection_ambiguous' } })
  })

  test('a file goes up and comes down by URLs that lead to deputy', async () => {
    const file = {
      id: 'F1',
      url_private: 'https://files.slack.com/files-pri/T1-F1/notes.txt',
      url_private_download: 'https://files.slack.com/files-pri/T1-F1/download/notes.txt',
    }
    const kept: Buffer[] = []
    vendor.upstream.handle = ({ url, body }, res) => {
      if (url === '/api/files.getUploadURLExternal')
        reply(res, 200, {
          ok: true,
          file_id: 'F1',
          upload_url: 'https://files.slack.com/upload/v1/CwABAAAAXA',
        })
      else if (url === '/upload/v1/CwABAAAAXA') {
        kept.push(body)
        reply(res, 200, Buffer.from('OK - 9'))
      } else if (url.startsWith('/files-pri/')) reply(res, 200, Buffer.from('nine byte'))
      else if (url === '/api/files.info') reply(res, 200, { ok: true, file })
      else reply(res, 200, { ok: true, files: [file] })
    }
    const slack = at('slack', 'alice')
    await vendor.through(
      'alice',
      ['files.getUploadURLExternal', 'files.content.upload', 'files.completeUploadExternal'],
      () =>
        slack.filesUploadV2({
          channel_id: 'C1',
          filename: 'notes.txt',
          file: Buffer.from('nine byte'),
        }),
    )
    expect(kept[0]?.includes('nine byte')).toBe(true)
    const evidence = JSON.stringify(vendor.deputy.evidence())
    expect(evidence).not.toContain('CwABAAAAXA')

    const info = await vendor.through('alice', ['files.info'], () =>
      slack.files.info({ file: 'F1' }),
    )
    const text = await vendor.through('alice', ['files.content.download'], async () => {
      const answer = await fetch(info.file?.url_private_download ?? '', {
        headers: { authorization: `Bearer ${vendor.tag('alice')}` },
      })
      return answer.text()
    })
    expect(text).toBe('nine byte')
  })

  test('an expired token is renewed on the way, and the client notices nothing', async () => {
    vendor.upstream.people.set('xoxe.xoxp-bob-fresh-0123456789', 'bob')
    vendor.upstream.people.delete(HELD.stale)
    vendor.upstream.token = (form, res) => {
      expect(form.get('refresh_token')).toBe('xoxe-1-bob')
      reply(res, 200, {
        ok: true,
        access_token: 'xoxe.xoxp-bob-fresh-0123456789',
        token_type: 'user',
        refresh_token: 'xoxe-1-bob-2',
        expires_in: 43_200,
        scope: SCOPES.join(','),
      })
    }
    const slack = at('slack', 'bob')
    const [first] = await vendor.through('bob', ['auth.test', 'auth.test'], () =>
      Promise.all([slack.auth.test(), slack.auth.test()]),
    )
    expect(first).toMatchObject({ ok: true })
    expect(vendor.upstream.refreshes.length).toBe(1)
  })
})
