// A call that somebody names on the command line → the questions that policy would be asked about it, by the very steps of
// a call that comes.
import type { IncomingMessage } from 'node:http'
import type { Connection, Entitlements, Holding, Principal } from '../../model.ts'
import { asPart, type Question } from '../../pipeline/decide.ts'
import type { Snapshot } from '../../pipeline/exchange.ts'
import { inspect } from '../../pipeline/inspect.ts'
import { opened } from '../../pipeline/classify.ts'
import { spoken } from '../../pipeline/mcp.ts'
import { matchRoute } from '../../pipeline/route.ts'
import { unpack } from '../../pipeline/unpack.ts'
import { stripQuery } from '../../wire/strip.ts'

export type Named = {
  readonly method: string
  /** As an agent would write it behind deputy's own address: `/api.github.com/repos/a/b/issues`. */
  readonly url: string
  readonly connection: string | null
  readonly body: Buffer | null
  readonly contentType: string
}
/** `POST /api.github.com/repos/a/b/issues`; null: it is no call. */
export const readCall = (text: string): Pick<Named, 'method' | 'url'> | null => {
  const [, method = '', url = ''] = /^([A-Z]+) (?:https?:\/)?(\/\S+)$/.exec(text.trim()) ?? []
  return method === '' ? null : { method, url }
}

/**
 * One question, or one for each call inside the call.
 * @throws Problem that deputy would answer before it asks policy
 */
export const questionsOf = async (
  named: Named,
  { routes, classify }: Pick<Snapshot, 'routes' | 'classify'>,
  about: {
    readonly principal: Principal
    readonly known: Entitlements
    readonly holding: (connection: Connection) => Holding
    readonly limits: { readonly requestBody: number; readonly inspectedBody: number }
  },
): Promise<readonly Question[]> => {
  const { method, url, connection, body: bytes } = named
  const headers = {
    ...(connection === null ? {} : { 'deputy-connection': connection }),
    ...(bytes === null
      ? {}
      : { 'content-length': String(bytes.length), 'content-type': named.contentType }),
  }
  const asked = matchRoute(routes, { method, url, headers }, null)
  const cut = stripQuery(asked.target, asked.connection.provider)
  const route = { ...asked, target: cut.target }
  const outer = classify(route)
  // Its body is at hand, so that nothing of it is read but its headers.
  const req = { headers, complete: true } as unknown as IncomingMessage
  const read = await inspect(req, { route, act: outer }, about.limits, bytes)
  const entered =
    outer.kind === 'mcp'
      ? spoken(outer, route, read.message, null)
      : opened(outer, route, read.inner)
  const { act, body } = unpack(entered, route, read, classify)
  const whole: Question = {
    id: '',
    principal: about.principal,
    route,
    act,
    body,
    stripped: [...cut.stripped, ...body.stripped],
    facts: { entitlements: about.known, ageMs: () => 0 },
    holding: about.holding(asked.connection),
  }
  const parts = act.parts ?? (act.lists === undefined ? [act] : [act, ...act.lists])
  return parts.map((part, i) => ({ ...asPart(whole, part, i), act: part }))
}
