// What a tool is called: found by any spelling, short enough for every host, and the nearest ones for a name that is none.
import { hash } from 'node:crypto'

/** Hosts put their own name before it, and models' interfaces allow 64 in all. */
const MOST = 48

/** One spelling for all: `Gmail.SendEmail`, `gmail_sendemail`, `Gmail_SendEmail`. */
export const spelling = (name: string): string => name.replaceAll(/[._-]/g, '').toLowerCase()

/** Letters, digits and `_`, at most 48; the same for the same name always. */
export const wireName = (name: string): string => {
  const plain = name.replaceAll(/[^A-Za-z0-9]+/g, '_')
  if (plain.length <= MOST) return plain
  const sum = `_${hash('sha256', name, 'hex').slice(0, 6)}`
  const cut = plain.slice(0, MOST - sum.length)
  // Whole words only, where one ends in time.
  const word = cut.replace(/(?:[A-Z][a-z0-9]*|_[A-Za-z0-9]*)$/, '')
  return (word.length > MOST / 2 ? word : cut).replace(/_$/, '') + sum
}

/** `repos/list-for-org` → `ReposListForOrg` */
export const camel = (id: string): string =>
  id
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join('')

const bigrams = (text: string): ReadonlySet<string> =>
  new Set(Array.from(text.slice(1), (letter, i) => (text[i] ?? '') + letter))

/** Names with what their likeness is counted by, made once. */
export const nearIndex = (names: Iterable<string>) =>
  Array.from(names, (name) => ({ name, other: bigrams(spelling(name)) }))
/** Those most like it (Dice's coefficient), the nearest first. */
export const nearestOf = (
  wanted: string,
  names: ReturnType<typeof nearIndex>,
  most = 5,
): readonly string[] => {
  const own = bigrams(spelling(wanted.slice(0, 128)))
  return names
    .map(({ name, other }) => {
      let both = 0
      for (const each of own) if (other.has(each)) both += 1
      return { name, alike: (2 * both) / (own.size + other.size || 1) }
    })
    .filter(({ alike }) => alike > 0.3)
    .toSorted((a, b) => b.alike - a.alike || (a.name < b.name ? -1 : 1))
    .slice(0, most)
    .map(({ name }) => name)
}
