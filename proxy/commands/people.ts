// `deputy people export` and `deputy tenants export | erase`: all that is kept, as one JSON document; and a whole tenant forgotten.
import { chainsOf } from '../audit/chains.ts'
import { OWN } from '../audit/names.ts'
import { rowsOf, sayersOf, textAt, type Counts, type Filter, type Row } from '../audit/query.ts'
import { visible } from '../observe/log.ts'
import { carried, line, member, results, textOf, type Ask, type Operate } from './operate.ts'

type Person = {
  readonly user: string
  readonly tenant?: string | undefined
  readonly realm?: string | undefined
}
export type Evidence = {
  /** Files or folders of evidence; null: nobody knows where it is. */
  readonly files: readonly string[] | null
  /** The document says that it is without. */
  readonly without: boolean
}
const NO_EVIDENCE =
  'the evidence is where deputy runs: name it with --evidence (of each replica), or leave it out with --without-evidence'
/** Instead of the id of somebody else in a line that is about both. */
const SOMEBODY = '(another person)'

const filesOf = ({ files, without }: Evidence): readonly string[] => {
  if (without) return []
  if (files === null || files.length === 0) throw new Error(NO_EVIDENCE)
  return files
}
const json = (value: unknown): string => visible(JSON.stringify(value))

/** Who else the line is about is not told to somebody who only had a say in it. */
const recordOf = ({ fields }: Row, names: readonly string[] | null): object => {
  if (names === null || names.includes(textAt(fields, 'user', 'id'))) return fields
  if (!sayersOf(fields).some((id) => names.includes(id))) return fields
  const user = member(fields, 'user')
  return typeof user === 'object' && user !== null
    ? { ...fields, user: { ...user, id: SOMEBODY } }
    : fields
}

/** Prints the end of a document from `"evidence"` on, line by line: a million lines take no more memory than one. */
const printEvidence = async (
  print: (line: string) => void,
  files: readonly string[],
  filter: Filter,
): Promise<Counts & { readonly found: number }> => {
  const counts: Counts = { lines: 0, bytes: 0, unread: 0 }
  let [found, inputs] = [0, 0]
  print('"evidence":[')
  let before: string | null = null
  for await (const row of rowsOf(await chainsOf(files), filter, counts)) {
    if (before !== null) print(`${before},`)
    const { file, line: number, outcome } = row
    before = json({ file, line: number, record: recordOf(row, filter.names ?? null), outcome })
    found += 1
    if (textAt(row.fields, 'input') !== '') inputs += 1
  }
  if (before !== null) print(before)
  print('],')
  const summary = { evidence: found, sealed_inputs: inputs, unread: counts.unread, files }
  print(`"summary":${json(summary)}}`)
  return { ...counts, found }
}

const told = (options: Operate, { found, unread, lines }: Counts & { found: number }): void => {
  options.complain(`${found} of ${lines} lines of the evidence`)
  if (unread > 0)
    options.complain(`${unread} lines are no evidence of deputy: deputy audit verify says which`)
}
const anything = (kept: unknown): boolean =>
  typeof kept === 'object' &&
  kept !== null &&
  Object.keys(kept).some((at) => at !== 'person_epochs')

/** @returns exit code: 0; 1 nothing is kept of the person, or something could not be read */
export const peopleExport = (options: Operate & Person & Evidence): Promise<number> =>
  carried(options, async (ask) => {
    const files = filesOf(options)
    const { user, tenant, realm, print } = options
    const path = `/v1/admin/users/${encodeURIComponent(user)}`
    const { body } = await ask('GET', path, { tenant, realm })
    const [place, of] = [textOf(body, 'tenant'), textOf(body, 'realm')]
    const person = { tenant: place, realm: of, id: user }
    const names = member(body, 'names')
    const known = Array.isArray(names) ? names.map(String) : []
    print(
      `{"version":1,"person":${json(person)},"exported_at":${json(member(body, 'exported_at'))},`,
    )
    print(`"kept":${json(member(body, 'kept'))},`)
    print(`"names":${json(known)},`)
    const filter = { names: known, said: true, tenant: place, realm: of }
    const counts = await printEvidence(print, files, filter)
    told(options, counts)
    const kept = member(body, 'kept')
    if (member(kept, 'person_keys') !== undefined && !known.some((name) => name.startsWith(OWN))) {
      options.complain(
        'the ring does not open the key under which the evidence names this person: lines under that name are not in here',
      )
      return 1
    }
    if (anything(kept) || counts.found > 0) return 0
    options.complain('nothing is kept of this person: check the id, --realm and --tenant')
    return 1
  })

type Listed = { readonly user: string; readonly realm: string }
/** Everybody of a tenant; those who are gone when they are reached were there all the same. */
const everybody = async function* (ask: Ask, tenant: string): AsyncGenerator<Listed> {
  for (let last: Listed | null = null; ;) {
    const from = last === null ? {} : { after_realm: last.realm, after_id: last.user }
    const { body } = await ask('GET', '/v1/admin/people', { tenant, limit: '100', ...from })
    const items = member(body, 'items')
    if (!Array.isArray(items) || items.length === 0) return
    for (const item of items) {
      last = { user: textOf(item, 'user_id'), realm: textOf(item, 'realm') }
      yield last
    }
  }
}

/** The same of each person of a tenant, and every line of the evidence that is about one of them. */
export const tenantsExport = (
  options: Operate & { readonly tenant: string } & Evidence,
): Promise<number> =>
  carried(options, async (ask) => {
    const files = filesOf(options)
    const { tenant, print } = options
    const at = new Date().toISOString()
    print(`{"version":1,"tenant":${json(tenant)},"exported_at":${json(at)},"people":[`)
    let before: string | null = null
    for await (const { user, realm } of everybody(ask, tenant)) {
      const path = `/v1/admin/users/${encodeURIComponent(user)}`
      const { body } = await ask('GET', path, { tenant, realm })
      if (before !== null) print(`${before},`)
      const person = { tenant, realm, id: user }
      before = json({ person, kept: member(body, 'kept'), names: member(body, 'names') })
    }
    if (before !== null) print(before)
    print('],')
    const counts = await printEvidence(print, files, { tenant })
    told(options, counts)
    if (before !== null || counts.found > 0) return 0
    options.complain('nothing is kept of this tenant: check its name')
    return 1
  })

/**
 * Erases each person of a tenant, then what is the tenant's own. May be repeated: what was cut off is done by the next.
 * @returns exit code: 1 when a provider may still accept a token, or somebody is left
 */
export const tenantsErase = (options: Operate & { readonly tenant: string }): Promise<number> =>
  carried(options, async (ask) => {
    const { tenant, complain, print } = options
    let [code, gone] = [0, 0]
    for await (const { user, realm } of everybody(ask, tenant)) {
      try {
        const path = `/v1/admin/users/${encodeURIComponent(user)}`
        const { body } = await ask('DELETE', path, { tenant, realm })
        code = Math.max(code, results({ ...options, complain: () => {} }, body))
        const left = Number(member(body, 'left') ?? 0)
        print(line([user, realm, left === 0 ? 'erased' : `${left} accounts left`]))
        gone += left === 0 ? 1 : 0
      } catch (error) {
        code = 1
        print(line([user, realm, 'failed', error instanceof Error ? error.message : String(error)]))
      }
    }
    const { body } = await ask('DELETE', `/v1/admin/tenants/${encodeURIComponent(tenant)}`)
    complain(
      visible(
        `erased: ${gone} people of ${tenant}, ${textOf(body, 'scim')} SCIM resources, ${textOf(body, 'agents')} switched-off agents; keys of tenants are derived from the ring and open nothing any more`,
      ),
    )
    return code
  })
