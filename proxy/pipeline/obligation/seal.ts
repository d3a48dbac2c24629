// The obligation `seal`: members of what leaves and of what comes back, kept for the investigator alone, before either does.
import type { Evidence } from '../../audit/records.ts'
import type { MembersOf } from '../../audit/inputs.ts'
import type { Log } from '../../model.ts'
import { Problem } from '../../problem.ts'
import { beginsJson } from '../../wire/body.ts'
import { EXACT } from '../../wire/json.ts'
import { readMedia } from '../../wire/media.ts'
import { valuesInJson } from '../../wire/rewrite.ts'
import { fieldsOf, formFields, sameField } from '../../wire/strip.ts'
import { readPointed, refuse, type Carrier, type Obliged, type Pointed } from '../obligations.ts'

/** Bytes of one record before it is sealed: a line of evidence is read as a whole. */
const MOST_BYTES = 1024 * 1024

/** The fields of a form that pointers name. Throws where one names no field, or could stand elsewhere. */
const checkForm = (name: string, { route, body }: Obliged, pointers: readonly string[]): void => {
  if (!pointers.every((pointer) => FIELD.test(pointer)))
    refuse(name, 'a pointer leads into the value of a field of the form: send JSON')
  if (body.bytes === null || beginsJson(body.bytes))
    refuse(name, 'the body is a form to some servers and JSON to others')
  const names = pointers.map(nameOf)
  if (route.target.query.some((one) => sameField(one.name, names)))
    refuse(name, 'the query has a field that is to be kept: send it in the body')
}
/** A pointer to a field. */
const FIELD = /^\/[^/~*]+$/
const nameOf = (pointer: string): string => pointer.slice(1)

/** Throws where what is to be kept could stand in a place that is not looked at. */
const check = (name: string, about: Obliged, { in: where, pointers }: Pointed): void => {
  const { act, part, body } = about
  if (part !== null || act.kind === 'mcp' || act.kind === 'graphql')
    refuse(name, 'members of a call inside another one, of a message or of GraphQL cannot be kept')
  if (act.operation.websocket != null)
    refuse(name, 'members of what goes over a WebSocket cannot be kept')
  if (where === 'response' || body.state === 'none') return
  const { reading } = readMedia(body.contentType)
  if (body.bytes === null || body.unseen === true || (reading !== 'json' && reading !== 'form'))
    refuse(name, 'members can be kept of JSON and of forms that deputy reads alone')
  if (reading === 'form') checkForm(name, about, pointers)
}

/**
 * The same of a form, as a JSON document of its fields.
 * @throws Problem request_invalid where servers would not all read the same value
 */
const formDocument = (bytes: Buffer, pointers: readonly string[]): string =>
  JSON.stringify(fieldsOf(formFields(bytes), pointers.map(nameOf)))

/** What of a document is kept: by pointer, every value it names, each as it was written. */
const membersOf = (text: string | null, pointers: readonly string[], insensitive: boolean) => {
  let count = 0
  const members = pointers.map((pointer) => {
    const values = text === null ? [] : valuesInJson(text, [pointer], { insensitive })
    count += values.length
    return `${JSON.stringify(pointer)}:[${values.join(',')}]`
  })
  return { count, text: `{${members.join(',')}}` }
}

/**
 * Each record is named by its digest in a line `obligation.sealed`, without what it holds.
 * @param deps.keep seals one record; resolves with its digest, null where it could not be and need not
 */
export const createSealCarrier = (deps: {
  readonly keep: (of: MembersOf, text: string) => Promise<string | null>
  readonly evidence: Pick<Evidence, 'event'>
  readonly auditRequired: boolean
  readonly log: Log
}): Carrier => {
  const note = async (fields: Readonly<Record<string, unknown>>): Promise<void> => {
    try {
      await deps.evidence.event('obligation.sealed', fields)
    } catch (cause) {
      if (deps.auditRequired)
        throw new Problem('audit_unavailable', 'that members were sealed could not be written', {
          cause,
        })
      deps.log.error({ err: cause }, 'an evidence record could not be written')
    }
  }
  return async (about, name, properties) => {
    const { in: where, pointers } = readPointed('seal', name, properties)
    check(name, about, { in: where, pointers })
    const { exchange, who, route } = about
    const { insensitive } = route.connection.provider.names ?? EXACT
    const kept = async (text: string | null, status: number | null): Promise<void> => {
      const members = membersOf(text, pointers, insensitive)
      const head = JSON.stringify({ version: 1, obligation: name, in: where, status }).slice(0, -1)
      const record = `${head},"members":${members.text}}`
      if (Buffer.byteLength(record) > MOST_BYTES)
        throw new Problem(
          where === 'request' ? 'obligation_refused' : 'answer_not_redactable',
          'the members that policy has sealed are larger than 1 MiB',
          { extra: { obligation: name } },
        )
      const sealed = await deps.keep({ exchange, in: where }, record)
      const user = who.person
      const fields = { exchange, user, agent: who.agent, connection: route.connection.name }
      await note({ ...fields, obligation: name, in: where, values: members.count, members: sealed })
    }
    const judged = async ({ text, status }: Parameters<Judging>[0]): Promise<void> => {
      try {
        await kept(text?.replace(/^\ufeff/, '') ?? null, status)
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error
        // What the parser says would quote the answer.
        throw new Problem('answer_not_redactable', 'the answer is not JSON, so nothing can be kept')
      }
    }
    if (where === 'response') return { in: 'answer', kept: judged }
    const { bytes, contentType } = about.body
    if (bytes === null) return kept(null, null)
    const form = readMedia(contentType).reading === 'form'
    return kept(form ? formDocument(bytes, pointers) : bytes.toString('utf8'), null)
  }
}
type Judging = (answer: { readonly status: number; readonly text: string | null }) => Promise<void>
