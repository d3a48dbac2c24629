// Entitlements from a watched YAML file: for development, and the simplest truth there is.
import { createHash } from 'node:crypto'
import { readFileSync, watch, type FSWatcher } from 'node:fs'
import { basename, dirname } from 'node:path'
import { parseDocument } from 'yaml'
import { z } from 'zod'
import type { Clock, Entitlements, Log, Person } from '../model.ts'

export type Directory = {
  /** What is known about a person; null: nothing, so nothing is allowed. Throws when the source cannot be asked. */
  readonly ask: (person: Person) => Entitlements | null | Promise<Entitlements | null>
  readonly close: () => void
}

const list = z.array(z.string().min(1)).default([])
const schema = z.strictObject({
  people: z.array(
    z.strictObject({
      id: z.string().min(1),
      realm: z.string().optional(),
      tenant: z.string().optional(),
      active: z.boolean().default(true),
      groups: list,
      roles: list,
      entitlements: list,
      auth: z
        .strictObject({
          acr: z.string().optional(),
          amr: list,
          age_s: z.number().int().min(0).optional(),
        })
        .optional(),
    }),
  ),
})

const keyOf = (person: Person): string => JSON.stringify([person.tenant, person.realm, person.id])

/** Canonical digest of the facts, so that evidence can say which facts a decision saw. */
export const factsDigest = (
  facts: Pick<Entitlements, 'active' | 'groups' | 'roles' | 'entitlements'>,
): string =>
  `sha256:${createHash('sha256')
    .update(
      JSON.stringify([
        facts.active,
        facts.groups.toSorted(),
        facts.roles.toSorted(),
        facts.entitlements.toSorted(),
      ]),
    )
    .digest('hex')}`

/**
 * `people: [{ id, realm?, tenant?, active?, groups, roles, entitlements }]`. Its own truth: age 0 while the watch is healthy.
 * Throws at start when the file is missing or malformed; later nobody is known until it is mended, and the log says so.
 * @param options.realm realm of rows that name none
 */
export const openFileDirectory = (options: {
  readonly path: string
  readonly realm: string
  readonly clock: Clock
  readonly log: Log
  readonly onChange: () => void
}): Directory => {
  const read = (): ReadonlyMap<string, Entitlements> => {
    const document = parseDocument(readFileSync(options.path, 'utf8'), { uniqueKeys: true })
    const broken = document.errors[0]
    if (broken !== undefined) throw new Error(`${options.path}: ${broken.message}`)
    const parsed = schema.safeParse(document.toJS({ maxAliasCount: 100 }))
    if (!parsed.success)
      throw new Error(
        parsed.error.issues
          .map((issue) => `${options.path}: ${issue.path.join('.')}: ${issue.message}`)
          .join('\n'),
      )
    const people = new Map<string, Entitlements>()
    for (const { id, realm = options.realm, tenant = 'default', auth, ...facts } of parsed.data
      .people) {
      const key = keyOf({ tenant, realm, id })
      if (people.has(key)) throw new Error(`${options.path}: ${id} is listed twice`)
      people.set(key, {
        ...facts,
        auth:
          auth === undefined
            ? null
            : {
                acr: auth.acr ?? null,
                amr: auth.amr,
                at: auth.age_s === undefined ? null : options.clock.now() - auth.age_s * 1_000,
              },
        source: 'file',
        digest: factsDigest(facts),
        asOf: null,
      })
    }
    return people
  }
  const keys = new WeakMap<Person, string>()
  let people = read()
  let healthy = true
  let timer: NodeJS.Timeout | null = null
  const reload = (): void => {
    timer = null
    try {
      people = read()
      healthy = true
      options.log.info({ people: people.size }, 'entitlements file read')
    } catch (error) {
      // Old facts must not go on counting as new ones: nothing is known until the file can be read.
      healthy = false
      options.log.error(
        { err: error },
        'entitlements file is broken: nobody is known until it is mended',
      )
    }
    options.onChange()
  }
  // The directory is watched, because a ConfigMap update is a rename beside the file.
  const watcher: FSWatcher = watch(dirname(options.path), (_event, name) => {
    if (name !== null && name !== basename(options.path) && !name.startsWith('..')) return
    timer ??= setTimeout(reload, 20)
  })
  watcher.on('error', (error) => {
    healthy = false
    options.log.error({ err: error }, 'the watch on the entitlements file failed')
  })
  return {
    ask: (person) => {
      if (!healthy) throw new Error('the entitlements file cannot be read')
      let key = keys.get(person)
      if (key === undefined) keys.set(person, (key = keyOf(person)))
      return people.get(key) ?? null
    },
    close: () => {
      watcher.close()
      if (timer !== null) clearTimeout(timer)
    },
  }
}
