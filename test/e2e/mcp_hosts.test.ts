// MCP hosts as their vendors make them: the official clients of both revisions and Python's, unmodified. One recorded
// session each: list, call, consent, call again, denied, paged.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  Client as NewClient,
  StreamableHTTPClientTransport as NewTransport,
} from '@modelcontextprotocol/client'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startMcpHouse, type McpHouse } from '../support/mcphost.ts'

let house: McpHouse
beforeAll(async () => {
  house = await startMcpHouse()
})
afterAll(() => house.close())

type Result = {
  readonly isError?: boolean | undefined
  readonly content?: unknown
  readonly structuredContent?: unknown
}
const said = ({ content }: Result): string =>
  (content as readonly { readonly text: string }[] | undefined)?.[0]?.text ?? ''
const URL_MODE = { elicitation: { form: {}, url: {} } }
const listNotes = { name: 'Acme_ListNotes', arguments: { n: 2 } }
const NOTES = { notes: ['first', 'second'], next: { page_token: 'two' } }

/** A session as a host has it: each thing that it hears, by name. */
const session = async (
  call: (params: { name: string; arguments?: Record<string, unknown> }) => Promise<Result>,
  list: () => Promise<readonly { readonly name: string }[]>,
) => {
  const heard: Record<string, unknown> = {}
  heard['list'] = (await list()).map(({ name }) => name)
  heard['call'] = (await call(listNotes)).structuredContent
  heard['paged'] = (
    await call({ name: 'Acme_ListNotes', arguments: { n: 2, page_token: 'two' } })
  ).structuredContent
  const denied = await call({ name: 'Acme_EraseNotes' })
  heard['denied'] = [denied.isError, said(denied).split(':', 1)[0]]
  const wrong = await call({ name: 'Acme_CreateNote' })
  heard['wrong'] = [wrong.isError, said(wrong)]
  heard['unknown'] = await call({ name: 'Acme_Nope' }).then(
    (result) => said(result),
    (error: unknown) => (error as { code?: unknown }).code,
  )
  return heard
}
const HEARD = {
  list: ['Acme_CreateNote', 'Acme_ListNotes'],
  call: NOTES,
  paged: { notes: ['third'] },
  denied: [true, 'policy_denied'],
  wrong: [true, 'invalid_arguments: `title` is missing; it must be a string.'],
  unknown: -32602,
}

describe('the official client 1.x', () => {
  const open = async (user: string, capabilities = {}) => {
    const client = new Client({ name: 'host', version: '1' }, { capabilities })
    const transport = new StreamableHTTPClientTransport(new URL(`${house.deputy.agent}/mcp`), {
      requestInit: { headers: { 'deputy-user': user } },
    })
    return { client, connect: () => client.connect(transport) }
  }
  test('a host that shows links gets -32042; after the consent it lists, calls, pages and is denied', async () => {
    const { client, connect } = await open('alice', URL_MODE)
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept' as const }))
    await connect()
    const asked = (await client.callTool(listNotes).catch((error: unknown) => error)) as {
      readonly code: number
      readonly elicitations: readonly { readonly url: string }[]
    }
    expect(asked.code).toBe(-32042)
    await house.visit(asked.elicitations[0]?.url ?? '', 'alice')
    const heard = await session(
      (params) => client.callTool(params) as Promise<Result>,
      async () => (await client.listTools()).tools,
    )
    expect(heard).toEqual(HEARD)
    await client.ping()
    await client.close()
  })

  test('one that shows none gets the link as text', async () => {
    const { client, connect } = await open('carol', { elicitation: {} })
    await connect()
    const asked = (await client.callTool(listNotes)) as Result
    expect(asked.isError).toBe(true)
    expect(said(asked)).toContain('/connect/')
    await client.close()
  })
})

describe('the official client 2.x', () => {
  const open = async (user: string, mode: 'auto' | 'legacy', capabilities = {}) => {
    const client = new NewClient(
      { name: 'host', version: '1' },
      { capabilities, versionNegotiation: { mode } },
    )
    const transport = new NewTransport(new URL(`${house.deputy.agent}/mcp`), {
      requestInit: { headers: { 'deputy-user': user } },
    })
    return { client, connect: () => client.connect(transport) }
  }
  test.each(['auto', 'legacy'] as const)('%s: lists, calls, pages, is denied', async (mode) => {
    const { client, connect } = await open('alice', mode)
    await connect()
    const first = (await client.callTool(listNotes)) as Result
    const link = (first.structuredContent as { url?: string } | undefined)?.url
    if (link !== undefined) await house.visit(link, 'alice')
    const heard = await session(
      (params) => client.callTool(params),
      async () => (await client.listTools()).tools,
    )
    expect(heard).toEqual(HEARD)
    await client.close()
  })

  test('the newer revision asks for the consent inside the call, and goes on by itself', async () => {
    const { client, connect } = await open('bob', 'auto', URL_MODE)
    const shown: string[] = []
    client.setRequestHandler('elicitation/create', async ({ params }) => {
      const { url } = params as { readonly url: string }
      shown.push(url)
      // The person is slower than the host's next call.
      setTimeout(() => void house.visit(url, 'bob'), 200)
      return { action: 'accept' as const }
    })
    await connect()
    const result = (await client.callTool(listNotes)) as Result
    expect(result.structuredContent).toEqual(NOTES)
    expect(shown).toHaveLength(1)
    expect(shown[0]).toContain('/connect/')
    await client.close()
  })
})

const PYTHON =
  process.env['DEPUTY_PYCLIENTS'] ?? join(homedir(), '.cache/deputy-ci/pyclients-3/bin/python')
const here = existsSync(PYTHON)
if (!here && process.env['DEPUTY_NO_SKIP'] !== undefined)
  throw new Error('DEPUTY_PYCLIENTS names no Python with mcp and fastmcp')

const python = (script: string, ...args: readonly string[]) =>
  new Promise<{ readonly code: number | null; readonly out: string; readonly err: string }>(
    (resolve) => {
      const child = spawn(PYTHON, [
        fileURLToPath(new URL(`../providers/${script}`, import.meta.url)),
        ...args,
      ])
      const out: Buffer[] = []
      const err: Buffer[] = []
      child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
      child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
      child.once('exit', (code) =>
        resolve({
          code,
          out: Buffer.concat(out).toString(),
          err: Buffer.concat(err).toString().slice(-3_000),
        }),
      )
    },
  )

describe.skipIf(!here)('clients of Python', () => {
  test('mcp and fastmcp list and call', async () => {
    const ran = await python('client_mcp_door.py', `${house.deputy.agent}/mcp`, 'alice')
    expect(ran.code, ran.err).toBe(0)
    expect(JSON.parse(ran.out)).toEqual({
      mcp: { list: HEARD.list, call: NOTES, denied: true },
      fastmcp: { list: HEARD.list, call: NOTES },
    })
  })
})

describe('the conformance suite', () => {
  /** It sends no tag: somebody else names the person for it. */
  const tagged = async () => {
    const server = createServer((req, res) => {
      void (async () => {
        const chunks: Buffer[] = []
        for await (const chunk of req) chunks.push(chunk as Buffer)
        const { host: _own, connection: _hop, ...headers } = req.headers
        const answer = await fetch(`${house.deputy.agent}${req.url ?? ''}`, {
          method: req.method ?? 'GET',
          headers: { ...(headers as Record<string, string>), 'deputy-user': 'alice' },
          ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
        })
        const kept = [...answer.headers].filter(
          ([name]) => !/^(?:content-length|connection|keep-alive|transfer-encoding)$/.test(name),
        )
        res
          .writeHead(answer.status, Object.fromEntries(kept))
          .end(Buffer.from(await answer.arrayBuffer()))
      })().catch(() => res.destroy())
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return server
  }
  test.each(['server-initialize', 'ping', 'tools-list'])('%s', async (scenario) => {
    const server = await tagged()
    const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
    const suite = fileURLToPath(
      new URL(
        '../../node_modules/@modelcontextprotocol/conformance/dist/index.js',
        import.meta.url,
      ),
    )
    const ran = await new Promise<{ code: number | null; out: string }>((resolve) => {
      const child = spawn(process.execPath, [suite, 'server', '--url', at, '--scenario', scenario])
      const out: Buffer[] = []
      child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
      child.stderr.on('data', (chunk: Buffer) => out.push(chunk))
      child.once('exit', (code) => resolve({ code, out: Buffer.concat(out).toString() }))
    })
    server.close()
    server.closeAllConnections()
    expect(ran.code, ran.out).toBe(0)
  })
})
