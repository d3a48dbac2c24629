// Calls a tool of an MCP server, and asks what the server says of its tools: each message goes the way of every call. How
// a server is spoken to is found out once for each person and agent, and kept while it holds.
import type { Holding, Json, JsonObject, Principal } from '../model.ts'
import type { Offer } from './catalogue.ts'
import type { Step } from './definition.ts'
import { describedBy, errorOf, ranOf, readPage, type Said } from './remote.ts'
import {
  LEGACY,
  messageTo,
  MODERN,
  opening,
  plainText,
  readReply,
  UNASKED,
  type Peer,
  type Reply,
} from './remote_message.ts'
import { argumentsOf, type Limits, type Ran, type Send } from './run.ts'
import type { Seen } from './visible.ts'

/** Servers whose person and agent are remembered; whoever is not is asked anew. */
const MOST_PEERS = 10_000
/** Of one list. */
const MOST_PAGES = 10

type Place = { readonly host: string | null; readonly path: string }
const placeOf = ({ host, operation }: Step): Place => ({ host, path: operation.path })
/** A session is of one account: whoever connects another one begins anew. */
export type Caller = {
  readonly who: Principal
  readonly send: Send
  readonly look: () => Holding | Promise<Holding>
}
const keyOf = async ({ who: { person, agent }, look }: Caller, connection: string) => {
  const held = await look()
  const account = held.kind === 'none' ? [] : [held.credential, held.account]
  return JSON.stringify([person.tenant, person.realm, person.id, agent, connection, ...account])
}

type Failed = Exclude<Reply, { kind: 'result' }>
type Opened = { readonly peer: Peer } | { readonly failed: Failed }
const isReply = (opened: Opened): opened is { readonly failed: Failed } => 'failed' in opened

/** One who asks a server: by what, and of how many bytes an answer is wanted. */
type Asking = { readonly send: Send; readonly place: Place; readonly most: number }
const ask = async (
  { send, place, most }: Asking,
  peer: Peer,
  what: Parameters<typeof messageTo>[2],
): Promise<Reply> => readReply(await send(messageTo(peer, place, what), most))

/** Of HTTP, by which a server may say that it does not know the session, or the revision: who asks again opens anew. */
const UNHEARD: readonly number[] = [400, 404, 405]
const isStranger = (reply: Reply): boolean =>
  (reply.kind === 'refused' && reply.code === 'mcp_session_unknown') ||
  ((reply.kind === 'error' || reply.kind === 'none') && UNHEARD.includes(reply.status))
/**
 * Was nothing done for certain? Only 404 to a session says so (MCP 2025-11-25, session management), or deputy, which sent
 * nothing: a server may carry a call out and then answer 400.
 */
const isUndone = (reply: Reply, { session }: Peer): boolean =>
  reply.kind === 'refused'
    ? isStranger(reply)
    : reply.kind !== 'result' && session !== null && reply.status === 404

const nameOf = ({ connection }: Offer): string => connection.provider.name

const ranBy = (reply: Reply, offer: Offer, bytes: number): Ran => {
  const name = nameOf(offer)
  switch (reply.kind) {
    case 'result':
      return ranOf(name, reply.result, bytes)
    case 'refused': {
      const { status, code, document, headers } = reply
      return { kind: 'refused', status, code, document, headers }
    }
    case 'error':
      return errorOf(name, reply.status, reply.error)
    case 'none':
      return {
        kind: 'failed',
        status: reply.status < 300 ? 502 : reply.status,
        message: `${name}: ${reply.why}`,
        value: null,
        retryAfter: null,
      }
    default:
      return reply satisfies never
  }
}
const whyOf = (reply: Failed): string =>
  reply.kind === 'refused'
    ? `deputy refused to ask for them (${reply.code})`
    : reply.kind === 'error'
      ? `the server answers ${plainText(reply.error['message'], 120) || 'an error'}`
      : reply.why

type Remotes = {
  /**
   * Calls one.
   * @param by.seen what policy would let the person do with it
   * @throws Problem invalid_arguments
   */
  readonly run: (
    by: Caller & { readonly seen: () => Promise<Seen> },
    offer: Offer,
    input: unknown,
    limits: Limits,
  ) => Promise<Ran>
  /** These of one connection, as its server describes them. Does not reject for what a server does. */
  readonly describe: (
    by: Caller & { readonly most: number },
    offers: readonly Offer[],
  ) => Promise<readonly Offer[]>
}

export const createRemotes = (): Remotes => {
  const peers = new Map<string, Peer>()
  /** By connection. */
  const revisions = new Map<string, Peer['revision']>()
  const keep = (key: string, peer: Peer): void => {
    peers.delete(key)
    peers.set(key, peer)
    const [oldest] = peers.keys()
    if (peers.size > MOST_PEERS && oldest !== undefined) peers.delete(oldest)
  }

  const openLegacy = async (asking: Asking): Promise<Opened> => {
    const legacy: Peer = {
      revision: 'legacy',
      version: LEGACY,
      session: null,
    }
    const reply = await ask(asking, legacy, { method: 'initialize', params: opening })
    if (reply.kind !== 'result') return { failed: reply }
    const said = reply.result['protocolVersion']
    const version = typeof said === 'string' && /^[\d-]{10}$/.test(said) ? said : legacy.version
    const peer = { ...legacy, version, session: reply.session }
    await ask(asking, peer, { method: 'notifications/initialized', notification: true })
    return { peer }
  }
  const openAny = async (asking: Asking, connection: string): Promise<Opened> => {
    if (revisions.get(connection) === 'legacy') {
      const opened = await openLegacy(asking)
      if (!isReply(opened) || opened.failed.kind === 'refused') return opened
      revisions.delete(connection)
    }
    const reply = await ask(asking, UNASKED, { method: 'server/discover' })
    if (reply.kind === 'refused') return { failed: reply }
    const versions = reply.kind === 'result' ? reply.result['supportedVersions'] : undefined
    if (Array.isArray(versions) && (versions as readonly Json[]).includes(MODERN)) {
      revisions.set(connection, 'modern')
      return { peer: UNASKED }
    }
    // Nobody is there who could be asked otherwise.
    if (reply.kind === 'none' && reply.status >= 500) return { failed: reply }
    const opened = await openLegacy(asking)
    if (!isReply(opened)) revisions.set(connection, 'legacy')
    return opened
  }
  const open = async (asking: Asking, by: Caller, connection: string): Promise<Opened> => {
    const opened = await openAny(asking, connection)
    if (!isReply(opened)) keep(await keyOf(by, connection), opened.peer)
    return opened
  }

  const run: Remotes['run'] = async (by, offer, input, limits) => {
    const { tool, connection } = offer
    const args = argumentsOf(tool, input)
    const [step] = tool.steps
    const key = await keyOf(by, connection.name)
    const asking: Asking = {
      send: by.send,
      place: step === undefined ? { host: null, path: '/' } : placeOf(step),
      most: limits.answers,
    }
    const params: JsonObject = {
      name: tool.remote?.tool ?? '',
      arguments: Object.fromEntries(args),
    }
    const call = (peer: Peer): Promise<Reply> => ask(asking, peer, { method: 'tools/call', params })
    let peer = peers.get(key)
    if (peer === undefined) {
      // What is refused, or needs a consent, is so by the call itself: with its own scopes, and nothing else is asked for.
      const { may, consent } = await by.seen()
      if (may !== 'no' && consent === null) {
        const opened = await open(asking, by, connection.name)
        if (isReply(opened)) return ranBy(opened.failed, offer, limits.result)
        peer = opened.peer
      }
    }
    const spoken = peer ?? UNASKED
    const reply = await call(spoken)
    if (isStranger(reply)) peers.delete(key)
    if (!isUndone(reply, spoken)) return ranBy(reply, offer, limits.result)
    const opened = await open(asking, by, connection.name)
    return isReply(opened)
      ? ranBy(opened.failed, offer, limits.result)
      : ranBy(await call(opened.peer), offer, limits.result)
  }

  const list = async (
    asking: Asking,
    peer: Peer,
    wanted: ReadonlySet<string>,
  ): Promise<Said | Failed> => {
    const said = new Map<string, { readonly [member: string]: unknown } | null>()
    let cursor: string | null = null
    for (let page = 0; page < MOST_PAGES; page++) {
      const params: JsonObject = cursor === null ? {} : { cursor }
      const reply: Reply = await ask(asking, peer, { method: 'tools/list', params })
      if (reply.kind !== 'result') return said.size > 0 ? said : reply
      const next = readPage(reply.result, wanted, said)
      // One that leads to itself never ends.
      if (next === null || next === cursor || said.size === wanted.size) break
      cursor = next
    }
    return said
  }
  const describe: Remotes['describe'] = async (by, offers) => {
    const [first] = offers
    const [step] = first?.tool.steps ?? []
    if (first === undefined || step === undefined) return offers
    const asking: Asking = { send: by.send, place: placeOf(step), most: by.most }
    const name = first.connection.name
    const key = await keyOf(by, name)
    const told = (said: Said | Failed): readonly Offer[] =>
      offers.map((offer) => describedBy(offer, said instanceof Map ? said : whyOf(said as Failed)))
    const wanted = new Set(offers.flatMap(({ tool }) => tool.remote?.tool ?? []))
    const known = peers.get(key)
    if (known !== undefined) {
      const said = await list(asking, known, wanted)
      if (said instanceof Map || !isStranger(said as Failed)) return told(said)
      peers.delete(key)
    }
    const opened = await open(asking, by, name)
    return told(isReply(opened) ? opened.failed : await list(asking, opened.peer, wanted))
  }
  return { run, describe }
}
