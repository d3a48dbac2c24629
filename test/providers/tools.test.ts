// The tools that ship: enough of them, each told in a line, with an example that makes requests.
import { expect, test } from 'vitest'
import { Ajv } from 'ajv'
import type { Tool } from '../../proxy/tools/definition.ts'
import { spelling, wireName } from '../../proxy/tools/names.ts'
import { inputSchema } from '../../proxy/tools/schema.ts'
import { callsOf, everyArgument, shippedTools } from '../support/tools.ts'
import { TOOLED } from '../tools_list.ts'

const all: readonly Tool[] = (
  await Promise.all(
    TOOLED.map(async (id) => {
      const { tools, problems } = await shippedTools(id)
      expect(problems).toEqual([])
      return tools
    }),
  )
).flat()

test('there are more than 150, and no name or other name means two of them', () => {
  expect(all.length).toBeGreaterThanOrEqual(150)
  const names = all.flatMap(({ name, aliases }) => [name, ...aliases]).map(spelling)
  expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([])
  const wire = all.map(({ name }) => wireName(name))
  expect(new Set(wire).size).toBe(all.length)
})

test.for([
  'Gmail.SendEmail',
  'Google.SendEmail',
  'Gmail.ListEmails',
  'GoogleCalendar.CreateEvent',
  'Google.CreateEvent',
  'Slack.SendMessage',
  'Slack.PostMessage',
  'Github.CreateIssue',
  'Linear.CreateIssue',
])('%s is what people’s code calls, so it is there', (wanted) => {
  expect(all.some(({ name, aliases }) => [name, ...aliases].includes(wanted))).toBe(true)
})

test('each is one sentence or two, and each argument says what it is', () => {
  for (const { name, description, input } of all) {
    expect(description, name).toMatch(/^[A-Z].{8,218}[.!]$/)
    for (const one of input)
      expect(one.description.length, `${name} ${one.name}`).toBeGreaterThan(2)
    expect(JSON.stringify(inputSchema({ input })).length, name).toBeLessThan(3_000)
  }
})

test('each example is right by the schema that hosts are given, and makes a request of every step', () => {
  const ajv = new Ajv({ strict: true })
  for (const tool of all) {
    const valid = ajv.compile(inputSchema(tool))
    expect(valid(tool.example), tool.name).toBe(true)
    expect(callsOf(tool), tool.name).toHaveLength(tool.steps.length)
    expect(callsOf(tool, everyArgument(tool)), tool.name).toHaveLength(tool.steps.length)
  }
})

test('what only reads is made of operations that only read', () => {
  const named = all.filter(({ name }) =>
    /\.(?:List|Get|Search|Find|WhoAmI|Describe|Count|Query)/.test(name),
  )
  expect(named.filter(({ behaviour }) => !behaviour.readOnly).map(({ name }) => name)).toEqual([])
  const deleting = all.filter(({ name }) => /\.(?:Delete|Trash)/.test(name))
  expect(deleting.filter(({ behaviour }) => behaviour.readOnly).map(({ name }) => name)).toEqual([])
})
