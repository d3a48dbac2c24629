// An operation by itself is a tool: its parameters are its arguments, each with a name of its own.
import { expect, test } from 'vitest'
import { isPlain, plainName, plainTool } from '../../proxy/tools/plain.ts'
import { requestOf } from '../../proxy/tools/request.ts'
import { checkArguments } from '../../proxy/tools/schema.ts'
import { provider } from './sample.ts'

const row = (id: string) => {
  const found = provider().operations.find((one) => one.id === id)
  if (found === undefined) throw new Error(id)
  return found
}
const build = (tool: NonNullable<ReturnType<typeof plainTool>>, input: object) => {
  const checked = checkArguments(tool, input)
  if ('wrong' in checked) throw new Error(checked.wrong)
  const [step] = tool.steps
  if (step === undefined) throw new Error('no step')
  const { target, body } = requestOf(step, {
    args: checked.args,
    steps: new Map(),
    links: new Map(),
    item: undefined,
  })
  return { target, body: body?.toString() ?? null }
}

test('without a specification: the path’s parameters, a query and a body', () => {
  const tool = plainTool(provider(), row('notes.create'), undefined)
  expect(tool?.input.map(({ name, type, required }) => [name, type, required])).toEqual([
    ['who', 'string', true],
    ['query', 'object', false],
    ['body', 'object', false],
  ])
  if (tool === null) return
  expect(build(tool, { who: 'me', query: { a: [1, 2], b: 'x y' }, body: { t: 1 } })).toEqual({
    target: '/v1/me/notes?a=1&a=2&b=x%20y',
    body: '{"t":1}',
  })
})

test('with one: flat arguments, and what would collide is told apart', () => {
  const parameters = [
    { name: 'who', in: 'path', type: 'string', required: true },
    { name: '$select', in: 'query', type: 'string', required: false },
    { name: 'who', in: 'body', type: 'string', required: true },
    { name: 'odd', in: 'body', type: 'oneOf', required: false },
    { name: 'many', in: 'body', type: 'integer[]', required: false },
  ] as const
  const tool = plainTool(provider(), row('notes.create'), { summary: 'Makes one.', parameters })
  expect(tool?.input.map(({ name }) => name)).toEqual(['who', 'select', 'body_who', 'odd', 'many'])
  if (tool === null) return
  expect(build(tool, { who: 'me', select: 'id', body_who: 'you' })).toEqual({
    target: '/v1/me/notes?$select=id',
    body: '{"who":"you"}',
  })
})

test('a name without the provider’s twice', () => {
  expect(plainName('acme', 'acme.me.read')).toBe('Acme.MeRead')
  expect(plainName('google', 'gmail.users.messages.send')).toBe('Google.GmailUsersMessagesSend')
})

test('a field of GraphQL, and a message to an MCP server, are no tools by themselves', () => {
  expect(isPlain(row('notes.create'))).toBe(true)
  expect(isPlain(row('boards.create'))).toBe(false)
  expect(isPlain({ ...row('notes.create'), mcp: 'tools/call search' })).toBe(false)
})

test('a path within a path has its slashes, a text within a function its quotes twice', () => {
  const at = (path: string) => plainTool(provider(), { ...row('notes.create'), path }, undefined)
  const file = at('/v1/root:/{path+}:/content')
  const search = at("/v1/root/search(q='{q}')")
  if (file === null || search === null) throw new Error('no tool')
  expect(build(file, { path: 'a/b c.txt' }).target).toBe('/v1/root:/a/b%20c.txt:/content')
  expect(build(search, { q: "it's) or (q='x" }).target).toBe(
    "/v1/root/search(q='it''s)%20or%20(q%3D''x')",
  )
})
