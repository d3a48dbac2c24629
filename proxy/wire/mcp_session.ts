// Sessions of MCP servers (`Mcp-Session-Id`): the agent gets the server's own sealed to the person and agent that opened it.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { Problem } from '../problem.ts'
import type { Bound } from './query_seal.ts'

export type McpSession = {
  /** As the server knows it. */
  readonly id: string
  /** Its client can show a person a link. */
  readonly url: boolean
}
export type McpSessions = {
  readonly seal: (bound: Bound, session: McpSession) => string
  /** null: it is nobody's, or somebody else's. */
  readonly open: (bound: Bound, sealed: string) => McpSession | null
}

export const sessionUnknown = (): Problem =>
  new Problem(
    'mcp_session_unknown',
    'there is no such session for this person and agent: begin one with initialize, without Mcp-Session-Id',
  )

const SEALED = /^([nu])\.([A-Za-z0-9_-]{43})\.([\x21-\x7e]{1,1024})$/

/** @param deps.key 32 bytes, the same at every replica */
export const createMcpSessions = (deps: { readonly key: Buffer }): McpSessions => {
  const made = ({ person, agent, connection, host }: Bound, kind: string, id: string): Buffer => {
    const { tenant, realm, id: user } = person
    const said = [tenant, realm, user, agent, connection, host, kind, id]
    return createHmac('sha256', deps.key).update(JSON.stringify(said)).digest()
  }
  return {
    seal: (bound, { id, url }) => {
      const kind = url ? 'u' : 'n'
      return `${kind}.${made(bound, kind, id).toString('base64url')}.${id}`
    },
    open: (bound, sealed) => {
      const [, kind = '', seal = '', id = ''] = SEALED.exec(sealed) ?? []
      if (id === '') return null
      const right = made(bound, kind, id)
      return timingSafeEqual(Buffer.from(seal, 'base64url'), right)
        ? { id, url: kind === 'u' }
        : null
    },
  }
}
