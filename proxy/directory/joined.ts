// Several sources as one: active only if all say so, everything else united.
import type { Entitlements, Person } from '../model.ts'
import { factsDigest, keyOf, type Directory } from './source.ts'

const union = (lists: readonly (readonly string[])[]): readonly string[] => [
  ...new Set(lists.flat()),
]

/** @param parts what each said; whom one of them does not know is nobody */
export const together = (parts: readonly (Entitlements | null)[]): Entitlements | null => {
  const known = parts.filter((part) => part !== null)
  const [first, ...rest] = known
  if (first === undefined || known.length < parts.length) return null
  const ages = known.flatMap(({ asOf }) => (asOf === null ? [] : [asOf]))
  const facts = {
    active: known.every(({ active }) => active),
    groups: union(known.map(({ groups }) => groups)),
    roles: union(known.map(({ roles }) => roles)),
    entitlements: union(known.map(({ entitlements }) => entitlements)),
  }
  return {
    ...facts,
    auth: known.find(({ auth }) => auth !== null)?.auth ?? null,
    manager: known.find(({ manager }) => manager)?.manager ?? null,
    source: rest.reduce<Entitlements['source']>(
      (named, { source }) => `${named}+${source}` as Entitlements['source'],
      first.source,
    ),
    parts: known,
    digest: factsDigest(facts),
    // As old as the oldest of them.
    asOf: ages.length === 0 ? null : Math.min(...ages),
  }
}

/** One alone is as it is. */
export const joined = (directories: readonly [Directory, ...Directory[]]): Directory => {
  const [first, ...rest] = directories
  if (rest.length === 0) return first
  /** Questions under way, and whether what they bring counts no more. */
  const under = new Set<{ readonly key: string; void: boolean }>()
  const ask = async (person: Person, maxAge: number): Promise<Entitlements | null> => {
    const asked = { key: keyOf(person), void: false }
    under.add(asked)
    try {
      // Each is asked before any is waited for: they answer side by side.
      const parts = await Promise.all(directories.map(async (one) => one.ask(person, maxAge)))
      // One may have answered before somebody said that it counts no more, while another was waited for.
      return asked.void ? await ask(person, 0) : together(parts)
    } finally {
      under.delete(asked)
    }
  }
  return {
    ask,
    unread: () => directories.map(({ unread }) => unread()).find((why) => why !== null) ?? null,
    forget: (person) => {
      for (const asked of under)
        if (person === null || asked.key === keyOf(person)) asked.void = true
      for (const { forget } of directories) forget(person)
    },
    close: () => {
      for (const { close } of directories) close()
    },
  }
}
