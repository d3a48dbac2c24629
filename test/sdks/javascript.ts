// The SDKs of JavaScript, each pointed at deputy in the way that docs/sdks.md tells, and what is asked of it.
import Anthropic from '@anthropic-ai/sdk'
import { Client as Notion, iteratePaginatedAPI } from '@notionhq/client'
import OpenAI, { toFile } from 'openai'
import { Stripe } from 'stripe'
import * as typical from '../providers/typical_calls.ts'
import type { Pointed } from '../providers/typical_calls.ts'

/** What is uploaded: text that a form would read otherwise. */
export const BYTES = 'nine=byte&b=%7'
type Calls = readonly (() => PromiseLike<unknown>)[]
/** What an exception tells of deputy's answer. */
export type Told = { readonly code?: unknown; readonly url?: unknown }
type Sdk = {
  /** Whom the provider says that it serves. */
  readonly who: (at: Pointed) => Promise<unknown>
  readonly calls: (at: Pointed) => Calls
  /** The items of two pages. */
  readonly pages: (at: Pointed) => Promise<readonly unknown[]>
  readonly upload?: (at: Pointed) => Promise<unknown>
  readonly told: (error: never) => Told
}

/** The link in a sentence. */
const linkIn = (text: unknown): unknown => /https?:\/\/\S+\/connect\/[\w-]+/.exec(String(text))?.[0]
const all = async <T>(items: AsyncIterable<T>): Promise<readonly T[]> => {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}
const ids = async (items: AsyncIterable<{ readonly id: string }>): Promise<readonly string[]> =>
  (await all(items)).map(({ id }) => id)
const callsOf = (name: string, at: Pointed): Calls => typical.CALLS[name]?.(at) ?? []

export const notion = ({ origin, key }: Pointed): Notion =>
  new Notion({ auth: key, baseUrl: `${origin}/api.notion.com` })
export const openai = ({ origin, key }: Pointed): OpenAI =>
  new OpenAI({ apiKey: key, baseURL: `${origin}/api.openai.com/v1` })
export const anthropic = ({ origin, key }: Pointed): Anthropic =>
  new Anthropic({ apiKey: null, authToken: key, baseURL: `${origin}/api.anthropic.com` })
export const stripe = ({ origin, key }: Pointed): Stripe =>
  new Stripe(key, {
    httpClient: Stripe.createFetchHttpClient((url, init) =>
      fetch((url as string).replace('https://', `${origin}/`), init),
    ),
  })

const notionCalls = (at: Pointed): Calls => {
  const client = notion(at)
  const page_id = '11111111-1111-4111-8111-111111111111'
  const [block_id, database_id, data_source_id] = [page_id, page_id, page_id]
  const parent = { page_id }
  const rich_text = [{ text: { content: 'x' } }]
  const children = [{ paragraph: { rich_text } }]
  return [
    () => client.users.me({}),
    () => client.users.list({}),
    () => client.users.retrieve({ user_id: page_id }),
    () => client.search({ query: 'x' }),
    () => client.pages.retrieve({ page_id }),
    () => client.pages.properties.retrieve({ page_id, property_id: 'p' }),
    () => client.pages.create({ parent, properties: {} }),
    () => client.pages.update({ page_id, properties: {} }),
    () => client.blocks.retrieve({ block_id }),
    () => client.blocks.update({ block_id, paragraph: { rich_text } }),
    () => client.blocks.children.list({ block_id }),
    () => client.blocks.children.append({ block_id, children }),
    () => client.blocks.delete({ block_id }),
    () => client.databases.retrieve({ database_id }),
    () => client.databases.create({ parent: { type: 'page_id', page_id } }),
    () => client.databases.update({ database_id, title: rich_text }),
    () => client.dataSources.retrieve({ data_source_id }),
    () => client.dataSources.query({ data_source_id }),
    () => client.comments.list({ block_id }),
    () => client.comments.create({ parent, rich_text }),
    () => client.fileUploads.create({ mode: 'single_part' }),
    () => client.fileUploads.retrieve({ file_upload_id: page_id }),
    () => client.fileUploads.list({}),
  ]
}
const openaiCalls = (at: Pointed): Calls => {
  const client = openai(at)
  const [model, input] = ['gpt', 'x']
  const messages = [{ role: 'user', content: 'x' }] as const
  const batch = { input_file_id: 'f', endpoint: '/v1/responses', completion_window: '24h' } as const
  return [
    () => client.models.list(),
    () => client.models.retrieve(model),
    () => client.chat.completions.create({ model, messages: [...messages] }),
    () => client.chat.completions.create({ model, messages: [...messages], stream: true }),
    () => client.responses.create({ model, input }),
    () => client.responses.create({ model, input, stream: true }),
    () => client.responses.retrieve('r'),
    () => client.embeddings.create({ model, input }),
    () => client.moderations.create({ input }),
    () => client.images.generate({ model, prompt: input }),
    () => client.files.list(),
    () => client.files.retrieve('f'),
    () => client.files.content('f'),
    () => client.files.delete('f'),
    () => client.batches.list(),
    () => client.batches.retrieve('b'),
    () => client.batches.create(batch),
    () => client.vectorStores.list(),
    () => client.vectorStores.create({}),
    () => client.vectorStores.retrieve('v'),
    () => client.fineTuning.jobs.list(),
    () => client.conversations.create({}),
    () => client.conversations.retrieve('c'),
  ]
}
const anthropicCalls = (at: Pointed): Calls => {
  const client = anthropic(at)
  const one = {
    model: 'claude',
    max_tokens: 9,
    messages: [{ role: 'user', content: 'x' }],
  } as const
  const ask = { ...one, messages: [...one.messages] }
  const { batches } = client.messages
  const { files } = client.beta
  return [
    () => client.models.list(),
    () => client.models.retrieve('claude'),
    () => client.messages.create(ask),
    () => client.messages.create({ ...ask, stream: true }),
    () => client.messages.create({ ...ask, system: 'x' }),
    () =>
      client.messages.create({ ...ask, tools: [{ name: 'a', input_schema: { type: 'object' } }] }),
    () => client.messages.countTokens({ model: one.model, messages: ask.messages }),
    () => batches.list(),
    () => batches.retrieve('b'),
    () => batches.create({ requests: [{ custom_id: '1', params: ask }] }),
    () => batches.cancel('b'),
    () => batches.delete('b'),
    () => files.list(),
    () => files.retrieveMetadata('f'),
    () => files.download('f'),
    () => files.delete('f'),
    () => client.beta.messages.create(ask),
    () => client.beta.messages.countTokens({ model: one.model, messages: ask.messages }),
    () => client.beta.models.list(),
    () => client.beta.models.retrieve('claude'),
  ]
}
const stripeCalls = (at: Pointed): Calls => {
  const client = stripe(at)
  return [
    () => client.accounts.retrieveCurrent(),
    () => client.balance.retrieve(),
    () => client.customers.list(),
    () => client.customers.retrieve('c'),
    () => client.customers.create({ email: 'a@b.test', metadata: { a: '1' } }),
    () => client.customers.update('c', { name: 'x' }),
    () => client.customers.del('c'),
    () => client.charges.list(),
    () => client.invoices.list(),
    () => client.invoices.retrieve('i'),
    () => client.invoices.create({ customer: 'c' }),
    () => client.products.list(),
    () => client.products.create({ name: 'x' }),
    () => client.products.retrieve('p'),
    () => client.prices.list(),
    () => client.prices.create({ currency: 'eur', product: 'p', unit_amount: 1 }),
    () => client.subscriptions.retrieve('s'),
    () => client.subscriptions.create({ customer: 'c', items: [{ price: 'p' }] }),
    () => client.paymentIntents.create({ amount: 1, currency: 'eur' }),
    () => client.paymentIntents.retrieve('p'),
    () => client.refunds.create({ payment_intent: 'p' }),
    () => client.events.list(),
    () => client.v2.core.events.list(),
    () => client.invoices.createPreview({ customer: 'c' }),
    () => client.paymentLinks.list(),
    () => client.setupIntents.create(),
    () => client.subscriptions.search({ query: 'x' }),
  ]
}

/** By the name of its package. */
export const JAVASCRIPT: Readonly<Record<string, Sdk>> = {
  '@octokit/rest': {
    who: async (at) => (await typical.octokit(at).rest.users.getAuthenticated()).data.login,
    calls: (at) => callsOf('@octokit/rest', at),
    pages: async (at) => {
      const client = typical.octokit(at)
      const issues = await client.paginate(client.rest.issues.listForRepo, {
        owner: 'acme',
        repo: 'web',
      })
      return issues.map(({ title }) => title)
    },
    upload: (at) =>
      typical.octokit(at).rest.repos.uploadReleaseAsset({
        baseUrl: `${at.origin}/uploads.github.com`,
        owner: 'acme',
        repo: 'web',
        release_id: 1,
        name: 'a.txt',
        data: BYTES,
      }),
    told: (e: { response: { headers: Record<string, string>; data: { url?: string } } }) => ({
      code: e.response.headers['deputy-answer'],
      url: e.response.data.url,
    }),
  },
  '@googleapis/*': {
    who: async (at) =>
      (await typical.googleApis(at).gmail.users.getProfile({ userId: 'me' })).data.emailAddress,
    calls: (at) => callsOf('@googleapis/*', at),
    pages: async (at) => {
      const { users } = typical.googleApis(at).gmail
      const found: (string | null | undefined)[] = []
      let pageToken: string | undefined
      do {
        const { data } = await users.messages.list({
          userId: 'me',
          ...(pageToken && { pageToken }),
        })
        found.push(...(data.messages ?? []).map(({ id }) => id))
        pageToken = data.nextPageToken ?? undefined
      } while (pageToken !== undefined)
      return found
    },
    upload: (at) =>
      typical.googleApis(at).drive.files.create({
        requestBody: { name: 'a.txt' },
        media: { mimeType: 'text/plain', body: BYTES },
      }),
    told: (e: { response: { headers: Headers; data: { url?: string } } }) => ({
      code: e.response.headers.get('deputy-answer'),
      url: e.response.data.url,
    }),
  },
  '@microsoft/microsoft-graph-client': {
    who: async (at) =>
      ((await typical.graphClient(at).api('/me').get()) as Record<string, unknown>)[
        'userPrincipalName'
      ],
    calls: (at) => callsOf('@microsoft/microsoft-graph-client', at),
    pages: async (at) => {
      const client = typical.graphClient(at)
      type Page = {
        readonly value: readonly { readonly id: string }[]
        readonly '@odata.nextLink'?: string
      }
      const first = (await client.api('/me/messages').get()) as Page
      // Over plain http the client asks for what stands behind the origin.
      const link = (first['@odata.nextLink'] ?? '').replace(
        `${at.origin}/graph.microsoft.com/v1.0`,
        '',
      )
      const second = (await client.api(link).get()) as Page
      return [...first.value, ...second.value].map(({ id }) => id)
    },
    upload: (at) =>
      typical
        .graphClient(at)
        .api('/me/drive/root:/notes.txt:/content')
        .put(BYTES) as Promise<unknown>,
    told: (e: { code: string; message: string }) => ({ code: e.code, url: linkIn(e.message) }),
  },
  '@slack/web-api': {
    who: async (at) => (await typical.slackClient(at).auth.test()).user,
    calls: (at) => callsOf('@slack/web-api', at),
    pages: async (at) => {
      const pages = await all(typical.slackClient(at).paginate('conversations.list', { limit: 1 }))
      return pages.flatMap((page) =>
        (page as { channels?: { id: string }[] }).channels?.map(({ id }) => id),
      )
    },
    upload: (at) =>
      typical
        .slackClient(at)
        .filesUploadV2({ channel_id: 'C1', filename: 'a.txt', file: Buffer.from(BYTES) }),
    told: (e: { headers?: Record<string, string>; body?: { url?: string } }) => ({
      // After a 429 it throws an exception without either.
      code: e.headers?.['deputy-answer'],
      url: e.body?.url,
    }),
  },
  '@hubspot/api-client': {
    who: async (at) =>
      (await typical.hubspotClient(at).crm.owners.ownersApi.getPage()).results[0]?.email,
    calls: (at) => callsOf('@hubspot/api-client', at),
    pages: async (at) =>
      (await typical.hubspotClient(at).crm.contacts.getAll()).map(({ id }) => id),
    told: (e: { headers: Record<string, string>; body: { url?: string } }) => ({
      code: e.headers['deputy-answer'],
      url: e.body.url,
    }),
  },
  '@jsforce/jsforce-node': {
    who: async (at) =>
      ((await typical.jsforce(at).request('/services/oauth2/userinfo')) as Record<string, unknown>)[
        'preferred_username'
      ],
    calls: (at) => callsOf('@jsforce/jsforce-node', at),
    pages: async (at) =>
      (await typical.jsforce(at).query('SELECT Id FROM User', { autoFetch: true })).records.map(
        ({ Id }) => Id,
      ),
    told: (e: { errorCode: string; message: string }) => ({
      code: e.errorCode.toLowerCase(),
      url: linkIn(e.message),
    }),
  },
  '@linear/sdk': {
    who: async (at) => (await typical.linearClient(at).viewer).name,
    calls: (at) => callsOf('@linear/sdk', at),
    pages: async (at) => {
      const teams = await typical.linearClient(at).teams()
      return (await teams.fetchNext()).nodes.map(({ id }) => id)
    },
    told: (e: { raw: { response: { headers: Headers } }; message: string }) => ({
      code: e.raw.response.headers.get('deputy-answer'),
      url: linkIn(e.message),
    }),
  },
  '@notionhq/client': {
    who: async (at) => (await notion(at).users.me({})).name,
    calls: notionCalls,
    pages: (at) => ids(iteratePaginatedAPI(notion(at).users.list, {})),
    upload: (at) =>
      notion(at).fileUploads.send({
        file_upload_id: '11111111-1111-4111-8111-111111111111',
        file: { filename: 'a.txt', data: new Blob([BYTES]) },
      }),
    told: (e: { headers: Headers; body: string }) => ({
      code: e.headers.get('deputy-answer'),
      url: (JSON.parse(e.body) as { url?: string }).url,
    }),
  },
  openai: {
    who: async (at) => (await openai(at).models.list()).data[0]?.owned_by,
    calls: openaiCalls,
    pages: (at) => ids(openai(at).files.list()),
    upload: async (at) =>
      openai(at).files.create({
        file: await toFile(Buffer.from(BYTES), 'a.txt'),
        purpose: 'user_data',
      }),
    told: (e: { headers: Headers; message: string }) => ({
      code: e.headers.get('deputy-answer'),
      url: linkIn(e.message),
    }),
  },
  '@anthropic-ai/sdk': {
    who: async (at) => (await anthropic(at).models.list()).data[0]?.display_name,
    calls: anthropicCalls,
    pages: (at) => ids(anthropic(at).beta.files.list()),
    upload: (at) => anthropic(at).beta.files.upload({ file: new File([BYTES], 'a.txt') }),
    told: (e: { headers: Headers; error: { url?: string } }) => ({
      code: e.headers.get('deputy-answer'),
      url: e.error.url,
    }),
  },
  stripe: {
    who: async (at) => (await stripe(at).accounts.retrieveCurrent()).email,
    calls: stripeCalls,
    pages: (at) => ids(stripe(at).customers.list()),
    upload: (at) =>
      stripe(at).files.create({
        purpose: 'dispute_evidence',
        file: { data: Buffer.from(BYTES), name: 'a.txt', type: 'text/plain' },
      }),
    told: (e: { headers: Record<string, string>; message: string }) => ({
      code: e.headers['deputy-answer'],
      url: linkIn(e.message),
    }),
  },
}
