// The main job, once: what an agent does, what the provider saw, what the agent shows its user. Every step proves a name,
// never a status alone: the provider answers 200 to anybody, as somebody.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Octokit } from '@octokit/rest'
import { createBrowser } from '../support/browser.ts'
import { clickThrough } from '../support/click.ts'
import { paced } from '../support/pace.ts'
import { TELL_TALE } from './provider.ts'
import type { World } from './world.ts'

const FORGED = `ghp_forged${'0'.repeat(30)}`
const REPO = { owner: 'alice-gh', repo: 'triage' } as const

/** What a step shows. */
type Shown = {
  /** What the agent did. */
  readonly agent: string
  /** The name in the provider's answer; null: nothing reached it; absent: it was not asked. */
  readonly provider?: string | null
  /** What an agent would show its user. */
  readonly user: string
}
export type Step = { readonly title: string; readonly run: () => Promise<Shown> }
/** Shows the link to a person who clicks; null: a script clicks. */
type ByHand = ((link: string) => void) | null

/** What deputy itself answered (RFC 9457), told from the provider's answers by the header Deputy-Answer alone. */
type Answer = {
  readonly code: string
  readonly detail: string
  readonly url?: string
  readonly authorization_id?: string
  readonly scopes?: readonly string[]
}
type Failure = {
  readonly response?: {
    readonly headers: Readonly<Record<string, unknown>>
    readonly data: unknown
  }
}
/** The call's value, or deputy's answer; what the provider itself refused is thrown on. */
const ask = async <T>(call: Promise<T>): Promise<{ readonly value: T } | Answer> => {
  try {
    return { value: await call }
  } catch (error) {
    const { response } = error as Failure
    if (response?.headers['deputy-answer'] === undefined) throw error
    return response.data as Answer
  }
}

/** The steps, to be run in order. */
export const createPlay = (world: World, byHand: ByHand): readonly Step[] => {
  const { idp, provider, agent } = world
  const clientOf = async (person: string, name = 'triage-agent'): Promise<Octokit> =>
    new Octokit({
      baseUrl: `${agent}/api.github.com`,
      auth: await idp.assertion(person, name),
      log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
    })
  const read = async (person: string, name?: string) =>
    ask((await clientOf(person, name)).rest.users.getAuthenticated().then(({ data }) => data.login))
  /** The author whom the provider names. */
  const write = async (person: string, title: string) => {
    const { rest } = await clientOf(person)
    return ask(rest.issues.create({ ...REPO, title }).then(({ data }) => data.user?.login))
  }

  const allowed = <T>(answer: { readonly value: T } | Answer): T =>
    'value' in answer ? answer.value : assert.fail(`${answer.code}: ${answer.detail}`)
  const refused = (answer: { readonly value: unknown } | Answer, code: string): Answer => {
    if ('value' in answer) assert.fail(`the call went through, as ${String(answer.value)}`)
    assert.equal(answer.code, code, answer.detail)
    return answer
  }
  const linkOf = ({ url }: Answer): string => {
    assert.ok(url !== undefined && url.startsWith(`${world.connect}/connect/`), `no link: ${url}`)
    return url
  }
  /** Does `work`; nothing may reach the provider meanwhile. */
  const unseen = async <T>(work: () => Promise<T>): Promise<T> => {
    const before = provider.seen.length
    const result = await work()
    assert.deepEqual(provider.seen.slice(before), [], 'something reached the provider')
    return result
  }
  const answered = async (id: string | undefined): Promise<void> => {
    for (let status = 'pending'; status !== 'completed';) {
      assert.equal(status, 'pending')
      const response = await fetch(`${agent}/v1/auth/status?wait=50&id=${id}`, {
        headers: { 'Deputy-User': await idp.assertion('alice', 'triage-agent') },
      })
      status = ((await response.json()) as { readonly status: string }).status
    }
  }
  /** alice opens the link and says yes; returns the account that deputy now holds for her. */
  const consent = async (asked: Answer): Promise<string> => {
    if (byHand !== null) byHand(linkOf(asked))
    else {
      const alice = { login: 'alice', account: 'alice-gh' }
      const page = await clickThrough(createBrowser(), linkOf(asked), alice)
      assert.match(page.text, /alice-gh/, `the last page was ${page.status} ${page.url}`)
    }
    await answered(asked.authorization_id)
    return String(
      world.evidence().findLast(({ event }) => event === 'consent.completed')?.['account'],
    )
  }
  /** Until it holds, within the second that a change in the directory may take. */
  const withinASecond = async <T>(attempt: () => Promise<T>, holds: (result: T) => boolean) => {
    const began = performance.now()
    for (;;) {
      const result = await attempt()
      const ms = Math.round(performance.now() - began)
      if (holds(result)) return { result, ms }
      assert.ok(ms < 1_000 || ms < paced(1_000), `still the same after ${ms} ms`)
      await new Promise((resume) => setTimeout(resume, 25))
    }
  }

  let link: Answer | null = null
  return [
    {
      title: 'alice’s agent asks GitHub who she is, before she has connected her account',
      run: async () => {
        link = refused(await unseen(() => read('alice')), 'consent_required')
        linkOf(link)
        return { agent: 'users.getAuthenticated()', provider: null, user: link.detail }
      },
    },
    {
      title: 'alice opens the link: signs in at her organisation, then says yes at GitHub',
      run: async () => {
        assert.ok(link !== null, 'there is no link')
        const account = await consent(link)
        assert.equal(account, 'alice-gh')
        return { agent: '(waits)', provider: account, user: 'You can close the page.' }
      },
    },
    {
      title: 'the same call again: the agent reads as alice',
      run: async () => {
        const name = allowed(await read('alice'))
        assert.equal(name, 'alice-gh')
        return { agent: 'users.getAuthenticated()', provider: name, user: `You are ${name}.` }
      },
    },
    {
      title: 'alice’s agent opens an issue: a yes to one scope more, then alice is the author',
      run: async () => {
        const asked = refused(
          await unseen(() => write('alice', 'Opened in her stead')),
          'consent_required',
        )
        assert.deepEqual(asked.scopes, ['repo'])
        await consent(asked)
        const author = allowed(await write('alice', 'Opened in her stead'))
        assert.equal(author, 'alice-gh')
        return { agent: 'issues.create()', provider: author, user: asked.detail }
      },
    },
    {
      title: 'bob’s agent tries the same: policy refuses, and he gets no link',
      run: async () => {
        const no = refused(await unseen(() => write('bob', 'Not for him')), 'policy_denied')
        assert.equal(no.url, undefined)
        return { agent: 'issues.create()', provider: null, user: no.detail }
      },
    },
    {
      title: 'the model slips in a token that it found somewhere: it is stripped',
      run: async () => {
        const forged = { Authorization: `Bearer ${FORGED}` }
        const nameFor = async (url: string, headers: Readonly<Record<string, string>>) =>
          ((await (await fetch(url, { headers })).json()) as { readonly login: string }).login
        // Had the token arrived, this is whom the provider would name.
        assert.equal(await nameFor(`${provider.url}/user`, forged), TELL_TALE)
        const tag = { 'Deputy-User': await idp.assertion('alice', 'triage-agent') }
        const name = await nameFor(`${agent}/api.github.com/user`, { ...forged, ...tag })
        assert.equal(name, 'alice-gh')
        assert.ok(!String(provider.seen.at(-1)?.authorization).includes(FORGED))
        const record = world.evidence().findLast(({ event }) => event === 'decision')
        assert.deepEqual(record?.['stripped'], ['header:authorization'])
        return {
          agent: 'GET /user with Authorization: Bearer ghp_forged…',
          provider: name,
          user: `You are ${name}. (The evidence says: stripped header:authorization.)`,
        }
      },
    },
    {
      title: 'another agent of alice needs its own yes; bob opens that link and gets nothing',
      run: async () => {
        const asked = refused(await read('alice', 'notes-agent'), 'consent_required')
        const bob = { login: 'bob', account: 'bob-gh' }
        const page = await unseen(() => clickThrough(createBrowser(), linkOf(asked), bob))
        assert.equal(page.status, 403)
        assert.doesNotMatch(page.text, /alice|notes-agent|<form/)
        const record = world.evidence().findLast(({ event }) => event === 'consent.user_mismatch')
        assert.equal((record?.['by'] as { readonly id: string } | undefined)?.id, 'bob')
        refused(await read('alice', 'notes-agent'), 'consent_required')
        assert.equal(allowed(await read('alice')), 'alice-gh')
        return { agent: 'users.getAuthenticated()', provider: null, user: asked.detail }
      },
    },
    {
      title: 'alice leaves engineering: her next write is refused; she returns, and it works',
      run: async () => {
        world.setGroups([])
        const lost = await withinASecond(
          () => write('alice', 'While she leaves'),
          (answer) => !('value' in answer),
        )
        const no = refused(lost.result, 'policy_denied')
        await unseen(() => write('alice', 'After she left'))
        world.setGroups(['engineering'])
        const back = await withinASecond(
          () => write('alice', 'Back again'),
          (answer) => 'value' in answer,
        )
        const author = allowed(back.result)
        assert.equal(author, 'alice-gh')
        return {
          agent: `issues.create(), refused after ${lost.ms} ms, allowed again after ${back.ms} ms`,
          provider: author,
          user: no.detail,
        }
      },
    },
    {
      title: 'the evidence verifies, a changed copy does not, and no token lies in any file',
      run: async () => {
        const [file, copy] = [
          join(world.folder, 'audit.jsonl'),
          join(world.folder, 'changed.jsonl'),
        ]
        const keys = ['--keys', join(world.folder, 'keys.json')]
        const whole = await world.command('audit', 'verify', file, ...keys)
        assert.equal(whole.code, 0, whole.text)
        writeFileSync(copy, readFileSync(file, 'utf8').replace('"id":"bob"', '"id":"eve"'))
        const changed = await world.command('audit', 'verify', copy, ...keys)
        assert.equal(changed.code, 1, changed.text)
        const tokens = new Set(provider.seen.map((call) => call.authorization?.split(' ')[1] ?? ''))
        assert.ok(tokens.size > 1, 'no token was ever used')
        // Files only: deputy.sock is none.
        const files = readdirSync(world.folder, { withFileTypes: true }).filter((one) =>
          one.isFile(),
        )
        assert.ok(files.length > 3, 'the files of deputy are missing')
        for (const { name } of files) {
          const text = readFileSync(join(world.folder, name), 'latin1')
          for (const token of tokens) assert.ok(!text.includes(token), `a token lies in ${name}`)
        }
        return {
          agent: 'deputy audit verify .sandbox/audit.jsonl --keys .sandbox/keys.json',
          user: whole.text.split('\n').at(-1)?.replace(`${world.folder}/`, '') ?? '',
        }
      },
    },
  ]
}
