// Loads what a provider's operations are called and take when it is first asked for, once a provider.
import { join } from 'node:path'
import { existsSync } from 'node:fs'
import type { Provider } from '../model.ts'
import { describe, type Described } from '../providers/parameters.ts'
import { readBeside, shipped } from './load.ts'

const known = new WeakMap<Provider['operations'], Promise<Described>>()

const texts = async ({ lineage }: Pick<Provider, 'lineage'>, dir: string): Promise<unknown> => {
  // A definition that extends a shipped one speaks of the same operations.
  const path = lineage
    .map((id) => join(dir, `${id}.parameters.json`))
    .find((file) => existsSync(file))
  return path === undefined ? undefined : readBeside(path)
}

/** Operation id → what it is called and takes. Throws an Error only where a shipped file cannot be read. */
export const describedOperations = (
  provider: Pick<Provider, 'operations' | 'lineage'>,
  dir = shipped('providers'),
): Promise<Described> => {
  const before = known.get(provider.operations)
  if (before !== undefined) return before
  const made = texts(provider, dir).then((raw) => describe(provider, raw))
  known.set(provider.operations, made)
  // What failed is tried again by whoever asks next.
  made.catch(() => known.delete(provider.operations))
  return made
}

/** One line on what an operation does; '' where nobody wrote one. Does not reject: a page is shown without it. */
export const summaryOf = async (
  provider: Pick<Provider, 'operations' | 'lineage'>,
  id: string,
): Promise<string> => {
  try {
    return (await describedOperations(provider)).get(id)?.summary ?? ''
  } catch {
    return ''
  }
}
