// An agent of the OpenAI Agents SDK whose tools are deputy's: listed by policy, carried out as the person.
import { Agent, run, setTracingDisabled, tool, Usage } from '@openai/agents'

const { DEPUTY = 'http://127.0.0.1:7410', PERSON = 'alice' } = process.env
setTracingDisabled(true)

const ask = async (path, body) => {
  const answer = await fetch(`${DEPUTY}${path}`, {
    headers: { 'deputy-user': PERSON, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
  })
  return answer.json()
}
const { items } = await ask('/v1/formatted_tools?toolkit=github&format=openai&limit=40')
const tools = items.map(({ function: { name, description, parameters } }) =>
  tool({
    name,
    description,
    parameters: { ...parameters, required: parameters.required ?? [], additionalProperties: true },
    strict: false,
    execute: async (input) => {
      const { url, output, detail } = await ask('/v1/tools/execute', { tool_name: name, input })
      if (url !== undefined) return `Ask the person to open ${url}`
      return JSON.stringify(output?.value ?? output?.error ?? detail)
    },
  }),
)

/** Instead of a model: it calls one tool, and says what came back. */
const model = {
  getResponse: async ({ input }) => {
    const last = Array.isArray(input) ? input.at(-1) : undefined
    const output =
      last?.type === 'function_call_result'
        ? {
            type: 'message',
            role: 'assistant',
            status: 'completed',
            content: [{ type: 'output_text', text: last.output.text ?? String(last.output) }],
          }
        : {
            type: 'function_call',
            callId: 'call-1',
            name: 'Github_ListIssues',
            status: 'completed',
            arguments: JSON.stringify({ owner: 'acme', repo: 'app' }),
          }
    return { usage: new Usage(), output: [output] }
  },
}
const agent = new Agent({ name: 'Triage', instructions: 'Read the issues.', tools, model })
const { finalOutput } = await run(agent, 'What is open in acme/app?')
process.stdout.write(`${finalOutput}\n`)
