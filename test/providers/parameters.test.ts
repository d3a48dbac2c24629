import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe as suite, expect, test } from 'vitest'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { describe } from '../../proxy/providers/parameters.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'

const shipped = join(import.meta.dirname, '../../providers')
const { providers } = compileProviders(readProviderFiles(shipped))
const described = (id: string) => {
  const provider = providers.get(id)
  if (provider === undefined) throw new Error(`there is no ${id}`)
  return describe(
    provider,
    JSON.parse(readFileSync(join(shipped, `${id}.parameters.json`), 'utf8')),
  )
}

suite('what operations are called and take', () => {
  test('a call by hand has the vendor’s line and parameters too', () => {
    const one = described('github').get('issues.create')
    expect(one).toMatchObject({
      summary: 'Create an issue',
      access: 'write',
      method: 'POST',
      path: '/repos/{owner}/{repo}/issues',
      host: null,
    })
    expect(one?.parameters).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ name: 'owner', in: 'path', type: 'string', required: true }),
        expect.objectContaining({ name: 'title', in: 'body', required: true }),
        expect.objectContaining({ name: 'labels', in: 'body', required: false }),
      ]),
    )
  })

  test('so have those of Google, Slack, HubSpot, Linear, Gitea and Graph', () => {
    const sheets = described('google').get('sheets.spreadsheets.values.append')
    expect(sheets?.parameters).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ name: 'range', in: 'path', required: true }),
        expect.objectContaining({ name: 'valueInputOption', in: 'query' }),
        expect.objectContaining({ name: 'values', in: 'body', type: 'object[]' }),
      ]),
    )
    expect(described('slack').get('chat.postMessage')?.parameters).toEqual(
      expect.arrayContaining([expect.objectContaining({ name: 'channel', type: 'string' })]),
    )
    expect(described('hubspot').get('crm.contacts.searchApi.doSearch')?.summary).not.toBe('')
    expect(described('linear').get('issue.create')?.parameters).toEqual([
      expect.objectContaining({ name: 'input', in: 'body', type: 'object', required: true }),
    ])
    expect(described('gitea').get('issues.create')?.parameters).toEqual(
      expect.arrayContaining([expect.objectContaining({ name: 'title', in: 'body' })]),
    )
    expect(described('microsoft').get('me.messages.list')).toBeUndefined()
    expect(described('microsoft').get('user-list-messages')?.parameters).toEqual(
      expect.arrayContaining([expect.objectContaining({ name: '$top', type: 'integer' })]),
    )
  })

  /** What was generated has its parameters beside it; what was written by hand alone has none. */
  const generated = [...providers.keys()].filter((id) =>
    existsSync(join(shipped, `${id}.parameters.json`)),
  )
  test('are those of the eight', () => {
    expect(generated).toHaveLength(8)
  })
  test.each(generated)('%s: every part of a template is a parameter that is needed', (id) => {
    for (const [operation, { path, parameters }] of described(id)) {
      const parts = [...path.matchAll(/\{(\w+)\+?\}/g)].map(([, name]) => name)
      const needed = parameters.filter((one) => one.in === 'path').map((one) => one.name)
      expect([operation, needed]).toEqual([operation, parts])
    }
  })

  test('a file of another form tells nothing, and templates speak for themselves', () => {
    const row = {
      id: 'notes.get',
      method: 'GET',
      path: '/notes/{id}',
      access: 'read' as const,
      scopes: [[]],
      inspect: [],
      upload: false,
      rewrite: [],
      host: null,
    }
    for (const raw of [undefined, [], { operations: [[1], 'x'], parameters: [null] }])
      expect(describe({ operations: [row] }, raw).get('notes.get')).toMatchObject({
        summary: '',
        parameters: [{ name: 'id', in: 'path', type: 'string', required: true }],
      })
  })
})
