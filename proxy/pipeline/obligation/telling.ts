// The obligations `log` and `notification`: somebody is told of a call before it leaves, or it does not leave.
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { room } from '../../memo.ts'
import type { Evidence } from '../../audit/records.ts'
import type { Clock, JsonObject, Log, Store } from '../../model.ts'
import { Problem } from '../../problem.ts'
import { refuse, type Carrier, type Obliged } from '../obligations.ts'

const LEVELS = ['debug', 'info', 'warn', 'error'] as const
const MOST_TAGS = 16
const MOST_TO = 16
/** Characters of a tag or a topic, and of whom a notice is for. */
const SHORT = 128
const MOST_BODY = 2_000
/** Exchanges that are remembered, so that a decision that is taken anew tells nobody twice. */
const REMEMBERED = 10_000
/** A notice that nobody took is given up after a day. */
const LIFE_MS = 86_400_000
/** Notices of one tenant that may wait. */
const MOST_WAITING = 10_000

const isText = (value: unknown, most: number): value is string =>
  typeof value === 'string' && value !== '' && value.length <= most && value.isWellFormed()
const areTexts = (value: unknown, most: number, length: number): value is readonly string[] =>
  Array.isArray(value) && value.length <= most && value.every((one) => isText(one, length))
/** Log lines are read in terminals: nothing there may move the cursor or turn the writing around. */
const plain = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '\ufffd')

/** What is told of a call: names, never a body or a token. */
const calledOf = ({ exchange, who, route, act, part }: Obliged) => ({
  exchange,
  ...(part === null ? {} : { part }),
  agent: who.agent,
  connection: route.connection.name,
  operation: act.operation.id,
})
const keyOf = ({ exchange, part }: Obliged, name: string): string =>
  JSON.stringify([exchange, part, name])

const logged = (name: string, properties: JsonObject) => {
  const { level, tags = [], ...rest } = properties
  const known = LEVELS.find((one) => one === level)
  if (known === undefined || !areTexts(tags, MOST_TAGS, SHORT) || Object.keys(rest).length > 0)
    return refuse(name, 'log takes level (debug, info, warn or error) and tags, a list of texts')
  return { level: known, tags: tags.map(plain) }
}

/** One line of the log and one record of the evidence for each call and name. */
export const createLogCarrier = (deps: {
  readonly log: Log
  readonly evidence: Pick<Evidence, 'event'>
  readonly auditRequired: boolean
}): Carrier => {
  const done = new LRUCache<string, true>(room(REMEMBERED))
  return async (about, name, properties) => {
    const { level, tags } = logged(name, properties)
    const key = keyOf(about, name)
    if (done.has(key)) return
    const fields = { ...calledOf(about), obligation: name, tags }
    try {
      await deps.evidence.event('obligation.log', { ...fields, user: about.who.person, level })
    } catch (cause) {
      if (deps.auditRequired)
        throw new Problem('audit_unavailable', 'what policy has logged could not be written', {
          cause,
        })
      deps.log.error({ err: cause }, 'an evidence record could not be written')
    }
    deps.log[level](fields, 'policy has this call logged')
    done.set(key, true)
  }
}

const notified = (name: string, properties: JsonObject) => {
  const { to, topic, body, ...rest } = properties
  const whom = typeof to === 'string' ? [to] : to
  if (
    !areTexts(whom, MOST_TO, SHORT) ||
    whom.length === 0 ||
    !isText(topic, SHORT) ||
    !isText(body, MOST_BODY) ||
    Object.keys(rest).length > 0
  )
    return refuse(name, 'notification takes to (a text, or a list of them), topic and body')
  return { to: whom, topic, body }
}

/**
 * Puts a notice into the store, from where `connect.notify` gets it: `to` means what the application takes it for.
 * @param deps.deliver is there anybody who takes notices?
 */
export const createNotificationCarrier = (deps: {
  readonly notices: Pick<Store['notices'], 'put'>
  readonly clock: Pick<Clock, 'now'>
  readonly deliver: boolean
}): Carrier => {
  const { notices, clock, deliver } = deps
  return async (about, name, properties) => {
    const said = notified(name, properties)
    if (!deliver) refuse(name, 'no connect.notify is configured, which would deliver it')
    const { person } = about.who
    const now = clock.now()
    const id = createHash('sha256').update(keyOf(about, name)).digest('hex')
    const body = JSON.stringify({
      event: 'policy.notification',
      ...said,
      obligation: name,
      ...calledOf(about),
      user_id: person.id,
      tenant: person.tenant,
      realm: person.realm,
      at: new Date(now).toISOString(),
    })
    const row = { id, person, body, createdAt: now, expiresAt: now + LIFE_MS }
    const kept = await notices.put(row, MOST_WAITING).catch((cause: unknown) => {
      throw new Problem('vault_unavailable', 'a notice that policy demands cannot be kept', {
        cause,
      })
    })
    if (!kept) refuse(name, `${MOST_WAITING} notices wait already: connect.notify takes none`)
  }
}
