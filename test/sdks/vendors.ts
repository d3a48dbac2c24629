// What the stand-in answers: who the caller is, two pages of a list, and as little else as lets an SDK go on.
import type { ServerResponse } from 'node:http'
import type { Seen } from '../support/upstream.ts'
import { reply } from '../support/vendor.ts'

const PAGES = ['first', 'second'] as const
/** GraphQL's answers to what Linear's client asks: everything that it selects of a person or a list. */
const linear = (who: string, body: Buffer): unknown => {
  const { query, variables } = JSON.parse(body.toString()) as {
    readonly query: string
    readonly variables?: { readonly after?: string }
  }
  if (/\bviewer\b/.test(query))
    return { data: { viewer: { id: who, name: who, displayName: who } } }
  const second = variables?.after !== undefined
  const pageInfo = {
    hasNextPage: !second,
    endCursor: 'c',
    hasPreviousPage: false,
    startCursor: null,
  }
  const nodes = [{ id: PAGES[second ? 1 : 0], name: PAGES[second ? 1 : 0] }]
  return { data: { teams: { nodes, pageInfo }, issues: { nodes, pageInfo } } }
}

type Query = URLSearchParams
/** Lists by path: the names of the first and second page, in the vendor's own shape. */
const lists: readonly (readonly [RegExp, (query: Query, who: string) => unknown])[] = [
  [
    /^\/gmail\/v1\/users\/me\/messages$/,
    (query) =>
      query.has('pageToken')
        ? { messages: [{ id: 'second' }] }
        : { messages: [{ id: 'first' }], nextPageToken: '2' },
  ],
  [
    /^\/v1\.0\/me\/messages$/,
    (query) =>
      query.has('$skip')
        ? { value: [{ id: 'second' }] }
        : {
            value: [{ id: 'first' }],
            '@odata.nextLink': 'https://graph.microsoft.com/v1.0/me/messages?$skip=1',
          },
  ],
  [
    /^\/crm\/v3\/objects\/contacts$/,
    (query, who) => {
      const id = query.has('after') ? 'second' : 'first'
      const next = { after: '2', link: 'https://api.hubapi.com/crm/v3/objects/contacts?after=2' }
      const record = { id, properties: { owner: who }, archived: false }
      return { results: [record], ...(query.has('after') ? {} : { paging: { next } }) }
    },
  ],
  [
    /^\/crm\/v3\/owners/,
    (_, who) => ({ results: [{ id: '1', email: who, type: 'PERSON', archived: false }] }),
  ],
  [
    /\/services\/data\/v[\d.]+\/query\/?$/,
    (_, who) => ({
      totalSize: 2,
      done: false,
      nextRecordsUrl: '/services/data/v65.0/query/01g-2',
      records: [{ attributes: { type: 'User' }, Id: 'first', Username: who }],
    }),
  ],
  [
    /\/query\/01g-2$/,
    (_, who) => ({
      totalSize: 2,
      done: true,
      records: [{ attributes: { type: 'User' }, Id: 'second', Username: who }],
    }),
  ],
  [/^\/services\/oauth2\/userinfo$/, (_, who) => ({ preferred_username: who, user_id: who })],
  [
    /^\/v1\/users$/,
    (query) =>
      query.has('start_cursor')
        ? {
            object: 'list',
            results: [{ object: 'user', id: 'second' }],
            has_more: false,
            next_cursor: null,
          }
        : {
            object: 'list',
            results: [{ object: 'user', id: 'first' }],
            has_more: true,
            next_cursor: 'c',
          },
  ],
  [
    /^\/v1\/(?:customers|files)$/,
    (query) => {
      const after = ['starting_after', 'after', 'page'].flatMap((name) => query.get(name) ?? [])
      // Java's client for OpenAI asks until nothing comes.
      const data = after[0] === 'second' ? [] : [{ id: PAGES[after.length > 0 ? 1 : 0] }]
      const more = after.length > 0 ? { has_more: false } : { has_more: true, next_page: 'p' }
      return { object: 'list', url: '/v1/customers', data, ...more }
    },
  ],
  [/^\/v1\/account$/, (_, who) => ({ id: 'acct_1', object: 'account', email: who })],
  [
    /^\/v1\/models$/,
    (_, who) => ({
      object: 'list',
      data: [{ id: 'first', owned_by: who, display_name: who }],
      has_more: false,
    }),
  ],
]

/** Answers one call. Whoever it does not know gets 401. */
export const answer = ({ method, url, body, who }: Seen, res: ServerResponse): void => {
  if (who === null) return reply(res, 401, { error: 'nobody known' })
  const { pathname, searchParams } = new URL(url, 'https://x.test')
  if (pathname === '/graphql') return reply(res, 200, linear(who, body))
  if (pathname === '/repos/acme/web/issues' && method === 'GET') {
    const second = searchParams.get('page') === '2'
    const next = '<https://api.github.com/repos/acme/web/issues?page=2>; rel="next"'
    const issue = { number: second ? 2 : 1, title: PAGES[second ? 1 : 0] }
    return reply(res, 200, [issue], second ? {} : { link: next })
  }
  if (pathname === '/api/conversations.list') {
    const form = new URLSearchParams(body.toString())
    const second = form.has('cursor') || searchParams.has('cursor')
    const channels = [{ id: PAGES[second ? 1 : 0] }]
    const next_cursor = second ? '' : 'c'
    return reply(res, 200, { ok: true, channels, response_metadata: { next_cursor } })
  }
  const [, list] = lists.find(([path]) => path.test(pathname)) ?? []
  if (list !== undefined && method === 'GET') return reply(res, 200, list(searchParams, who))
  if (searchParams.get('uploadType') === 'resumable' && !searchParams.has('upload_id'))
    return reply(res, 200, null, {
      location: `https://www.googleapis.com${pathname}?uploadType=resumable&upload_id=ABPtcPqZ-${who}`,
    })
  const upload_url = 'https://files.slack.com/upload/v1/abc'
  const github = /^\/(?:repos|user|search)\b/.test(pathname)
  reply(res, 200, {
    ok: true,
    id: github ? 1 : '1',
    login: who,
    user: github ? { login: who } : who,
    upload_url,
    file_id: 'F1',
    files: [{ id: 'F1' }],
    ...(github
      ? {
          url: `https://api.github.com${pathname}`,
          full_name: 'acme/web',
          name: 'web',
          owner: { login: 'acme' },
          content: {},
          commit: {},
        }
      : {}),
  })
}
