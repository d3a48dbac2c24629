// LangChain tools over deputy: the model is bound to what its person may use, and each call is theirs.
import { AIMessage, HumanMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'

const { DEPUTY = 'http://127.0.0.1:7410', PERSON = 'alice' } = process.env

const ask = async (path, body) => {
  const answer = await fetch(`${DEPUTY}${path}`, {
    headers: { 'deputy-user': PERSON, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
  })
  return answer.json()
}
const { items } = await ask('/v1/formatted_tools?toolkit=github&format=anthropic&limit=40')
const tools = items.map(({ name, description, input_schema: schema }) =>
  tool(
    async (input) => {
      const { url, output, detail } = await ask('/v1/tools/execute', { tool_name: name, input })
      if (url !== undefined) return `Ask the person to open ${url}`
      return JSON.stringify(output?.value ?? output?.error ?? detail)
    },
    { name, description, schema },
  ),
)

/** Instead of a model: it calls one tool, and says what came back. */
const model = async (messages) => {
  const last = messages.at(-1)
  if (last.getType() === 'tool') return new AIMessage(last.content)
  const args = { owner: 'acme', repo: 'app' }
  return new AIMessage({
    content: '',
    tool_calls: [{ id: 'call-1', name: 'Github_ListIssues', args, type: 'tool_call' }],
  })
}

const messages = [new HumanMessage('What is open in acme/app?')]
for (;;) {
  const said = await model(messages)
  messages.push(said)
  if (said.tool_calls.length === 0) break
  for (const call of said.tool_calls) {
    const chosen = tools.find(({ name }) => name === call.name)
    messages.push(await chosen.invoke(call))
  }
}
process.stdout.write(`${messages.at(-1).content}\n`)
