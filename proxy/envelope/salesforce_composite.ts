// Calls inside Salesforce's composite resources: subrequests with methods and URLs (composite, batch, graph), and lists of
// records, of which each is a call on one record (sObject collections and trees). REST API Developer Guide, "Composite".
import type { EnvelopeFormat, InnerBody, InnerCall, Provider } from '../model.ts'
import { isObject } from '../wire/json.ts'
import { typeOf } from './graph_batch.ts'
import { eachPart, refused } from './inner.ts'

type Members = { readonly [name: string]: unknown }
type Of = {
  readonly method: string
  /** The decoded segments of the batch's own path: services, data, v65.0, composite, … */
  readonly segments: readonly string[]
  readonly provider: Provider
}

/**
 * @param value the parsed body, without duplicate keys
 * @throws Problem request_invalid, credential_in_body
 */
export const readComposite = (
  format: Exclude<EnvelopeFormat, 'graph_batch' | 'multipart_batch'>,
  value: unknown,
  of: Of,
): readonly InnerCall[] => {
  const body = only(value, MEMBERS[format])
  if (format === 'salesforce_composite')
    return subrequests(list(body, 'compositeRequest'), '/compositeRequest', of)
  if (format === 'salesforce_graph') return graphs(list(body, 'graphs'), of)
  if (format === 'salesforce_batch')
    return eachPart(list(body, 'batchRequests'), (one: unknown, i) =>
      ofBatch(one, `/batchRequests/${i}/richInput`),
    )
  const records =
    format === 'salesforce_tree'
      ? flat(list(body, 'records'), '/records', 1)
      : list(body, 'records').map((one: unknown, i) => ({ record: one, pointer: `/records/${i}` }))
  return eachPart(records, (one) => ofRecord(one, of))
}

const MEMBERS = {
  salesforce_composite: ['allOrNone', 'collateSubrequests', 'compositeRequest'],
  salesforce_batch: ['haltOnError', 'batchRequests'],
  salesforce_graph: ['graphs'],
  salesforce_records: ['allOrNone', 'records'],
  salesforce_tree: ['records'],
} as const

const only = (value: unknown, members: readonly string[]): Members => {
  if (!isObject(value)) throw refused('a JSON object is expected')
  const odd = Object.keys(value).find((key) => !members.includes(key))
  if (odd !== undefined)
    throw refused(`the member ${JSON.stringify(odd.slice(0, 64))} is one that deputy cannot read`)
  return value
}
const list = (members: Members, name: string): readonly unknown[] => {
  const found = members[name]
  if (!Array.isArray(found)) throw refused(`${name} is no list`)
  return found
}

// --- subrequests --------------------------------------------------------------------------------

/** Whose answer holds the id of a record that it made, and nothing else by that name. */
const CREATES = /^\/services\/data\/v\d{1,3}\.\d\/sobjects\/\w+\/?$/
const WORD = /^[A-Za-z]\w{0,99}$/
const REFERENCE = /@\{([A-Za-z]\w*)\.id\}/g

const subrequests = (
  requests: readonly unknown[],
  pointer: string,
  { provider }: Of,
  before = 0,
): readonly InnerCall[] => {
  const made = new Map<string, boolean>()
  return eachPart(
    requests,
    (request: unknown, i) => {
      const { method, url, referenceId, httpHeaders, body } = only(request, [
        'method',
        'url',
        'referenceId',
        'httpHeaders',
        'body',
      ])
      if (typeof method !== 'string') throw refused('it has no method')
      if (typeof url !== 'string' || !url.startsWith('/services/data/'))
        throw refused('its url does not begin with /services/data/')
      if (typeof referenceId !== 'string' || !WORD.test(referenceId) || made.has(referenceId))
        throw refused('its referenceId is no word of its own')
      checkReferences(url, made)
      made.set(referenceId, method === 'POST' && CREATES.test(url))
      const contentType = typeOf(httpHeaders, provider)
      return {
        method,
        target: url,
        contentType,
        body: bodyOf(body, `${pointer}/${i}/body`),
        stripped: [],
        refers: refers(body),
      }
    },
    before,
  )
}

/** In a URL only the id of a record that an earlier call makes: any other text of an answer may lead elsewhere. */
const checkReferences = (url: string, made: ReadonlyMap<string, boolean>): void => {
  const known = url.replaceAll(REFERENCE, (all, name: string) =>
    made.get(name) === true ? '' : all,
  )
  if (/(?:@|%40)(?:\{|%7b)/i.test(known))
    throw refused(
      'its url refers to something else than the id of a record that an earlier part creates, so that deputy cannot tell where it leads',
    )
}
const refers = (value: unknown): boolean =>
  typeof value === 'string'
    ? value.includes('@{')
    : typeof value === 'object' && value !== null && Object.values(value).some(refers)

const bodyOf = (body: unknown, pointer: string): InnerBody => {
  if (body === undefined || body === null) return { kind: 'none' }
  if (typeof body !== 'object') throw refused('its body is no JSON object')
  return { kind: 'json', value: body, pointer }
}

/** Parts are numbered through all graphs. */
const graphs = (found: readonly unknown[], of: Of): readonly InnerCall[] => {
  if (found.length === 0) throw refused('the batch holds no graph')
  const calls: InnerCall[] = []
  for (const [g, graph] of found.entries()) {
    const requests = list(only(graph, ['graphId', 'compositeRequest']), 'compositeRequest')
    calls.push(...subrequests(requests, `/graphs/${g}/compositeRequest`, of, calls.length))
  }
  return calls
}

/** URLs of `batchRequests` are relative to /services/data/, or begin with it. */
const ofBatch = (request: unknown, pointer: string): InnerCall => {
  const { method, url, richInput } = only(request, ['method', 'url', 'richInput'])
  if (typeof method !== 'string') throw refused('it has no method')
  if (typeof url !== 'string' || !/^(?:\/services\/data\/)?v\d{1,3}\.\d\//.test(url))
    throw refused('its url does not begin with the version of the API, such as v65.0/')
  return {
    method,
    target: url.startsWith('/') ? url : `/services/data/${url}`,
    contentType: null,
    body: bodyOf(richInput, pointer),
    stripped: [],
  }
}

// --- records ------------------------------------------------------------------------------------

type Placed = {
  readonly record: unknown
  readonly pointer: string
  /** Of the type that the URL names. */
  readonly named?: boolean
}

/** Whatever else Salesforce might take for a list of records would be records that nobody saw. */
const checkRecords = (member: Members): void => {
  for (const key of Object.keys(member))
    if (key !== 'records' && key.toUpperCase() === 'RECORDS')
      throw refused(`${key} is spelled records`)
}

/** A tree's records, and those beneath them. */
const flat = (records: readonly unknown[], pointer: string, depth: number): readonly Placed[] => {
  if (depth > 10) throw refused('the tree of records is deeper than 10')
  return records.flatMap((record, i): readonly Placed[] => {
    const at = `${pointer}/${i}`
    const below = isObject(record)
      ? Object.entries(record).flatMap(([name, member]) => {
          if (!isObject(member)) return []
          checkRecords(member)
          return Object.hasOwn(member, 'records')
            ? flat(
                list(only(member, ['records']), 'records'),
                `${at}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}/records`,
                depth + 1,
              )
            : []
        })
      : []
    return [{ record, pointer: at, named: depth === 1 }, ...below]
  })
}

/** The call on this one record: `POST …/sobjects/Account` for one of the list that creates. */
const ofRecord = ({ record, pointer, named }: Placed, { method, segments }: Of): InnerCall => {
  const [, , version = '', , , sobject, field] = segments
  if (!isObject(record)) throw refused('it is no record')
  const { attributes } = record
  const type = isObject(attributes) ? attributes['type'] : undefined
  if (typeof type !== 'string' || !WORD.test(type))
    throw refused('its attributes do not say the type of the record')
  if ((field !== undefined || named === true) && type !== sobject)
    throw refused('its attributes say another type than the URL')
  const root = `/services/data/${version}/sobjects/${type}`
  const key = field ?? (method === 'PATCH' ? 'id' : null)
  return {
    method,
    target:
      key === null
        ? root
        : `${root}${field === undefined ? '' : `/${field}`}/${keyOf(record, key)}`,
    contentType: null,
    body: { kind: 'json', value: record, pointer },
    stripped: [],
  }
}
const keyOf = (record: Members, key: string): string => {
  const [name, ...others] = Object.keys(record).filter(
    (one) => one.toLowerCase() === key.toLowerCase(),
  )
  const value = name === undefined || others.length > 0 ? undefined : record[name]
  // A number may be rounded here, and would name another record than the one that is sent.
  if (typeof value === 'number')
    throw refused(`its ${key} is a number: send it as a string, so that it has one reading`)
  if (typeof value !== 'string') throw refused(`it has no ${key} by which the record is found`)
  return encodeURIComponent(value)
}
