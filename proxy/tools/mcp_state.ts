// What a host gives back with a call that it repeats (`requestState`): that deputy itself said so, to this person through
// this agent, about this very call. It confers nothing: the call is decided anew.
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Person } from '../model.ts'
import { isObject } from '../wire/json.ts'

export type CallBound = {
  readonly person: Person
  readonly agent: string
  readonly endpoint: string
  readonly tool: string
  readonly args: unknown
}
export type McpStates = {
  /** @param until ms */
  readonly seal: (bound: CallBound, until: number) => string
  readonly read: (bound: CallBound, sealed: string) => 'good' | 'ended' | 'foreign'
}

/** The same for the same arguments, in whatever order a host writes them. */
const canonical = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(canonical)
    : isObject(value)
      ? Object.keys(value)
          .toSorted()
          .map((key) => [key, canonical(value[key])])
      : { is: value }

const SEALED = /^v1\.([0-9a-z]{1,11})\.([A-Za-z0-9_-]{43})$/

/** @param deps.key 32 bytes, the same at every replica */
export const createMcpStates = (deps: {
  readonly key: Buffer
  readonly now: () => number
}): McpStates => {
  const made = ({ person, agent, endpoint, tool, args }: CallBound, until: string): Buffer => {
    const { tenant, realm, id } = person
    const said = [tenant, realm, id, agent, endpoint, tool, canonical(args ?? {}), until]
    return createHmac('sha256', deps.key).update(JSON.stringify(said)).digest()
  }
  return {
    seal: (bound, until) => {
      const end = Math.floor(until / 1_000).toString(36)
      return `v1.${end}.${made(bound, end).toString('base64url')}`
    },
    read: (bound, sealed) => {
      const [, end = '', mac = ''] = SEALED.exec(sealed) ?? []
      if (end === '') return 'foreign'
      if (!timingSafeEqual(Buffer.from(mac, 'base64url'), made(bound, end))) return 'foreign'
      return Number.parseInt(end, 36) * 1_000 > deps.now() ? 'good' : 'ended'
    },
  }
}
