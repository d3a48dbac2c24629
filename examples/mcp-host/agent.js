// An MCP host: the official client lists what its person may use, a model chooses, the host calls.
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'

const { DEPUTY = 'http://127.0.0.1:7410', PERSON = 'alice' } = process.env

/** Instead of a model: the same choice each time. */
const model = (tools) =>
  tools.some(({ name }) => name === 'Github_ListIssues')
    ? { name: 'Github_ListIssues', arguments: { owner: 'acme', repo: 'app' } }
    : null

const client = new Client({ name: 'example-host', version: '1.0.0' })
await client.connect(
  new StreamableHTTPClientTransport(new URL(`${DEPUTY}/mcp`), {
    requestInit: { headers: { 'deputy-user': PERSON } },
  }),
)
const { tools } = await client.listTools()
const choice = model(tools)
if (choice === null) process.stdout.write('I may not read issues.\n')
else {
  const { structuredContent, content } = await client.callTool(choice)
  const { url } = structuredContent ?? {}
  process.stdout.write(url === undefined ? `${content[0].text}\n` : `Please open ${url}\n`)
}
await client.close()
