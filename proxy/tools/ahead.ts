// Before something is done that later calls of the same tool are to follow: which of those are known already, so that
// policy can be asked about them first. Pure.
import type { Json } from '../model.ts'
import type { Step } from './definition.ts'
import { requestOf, type Request } from './request.ts'
import { filled, Unsendable, type Given } from './template.ts'

/** Does it change anything at the provider? Whatever else is done twice does no harm. */
export const isAct = ({ operation }: Step): boolean => operation.access !== 'read'

/**
 * The elements that a step is carried out for; null: the answers before it name no list.
 * @throws Unsendable where an act would be done for some of them, and nobody would hear of the others
 */
export const itemsOf = (
  step: Step,
  { of, most }: NonNullable<Step['each']>,
  given: Given,
): readonly Json[] | null => {
  const list = filled(of, given) ?? []
  if (!Array.isArray(list)) return null
  if (isAct(step) && list.length > most)
    throw new Unsendable(
      `${step.operation.id} is done for at most ${most} at once, and these are ${list.length}`,
    )
  return (list as readonly Json[]).slice(0, most)
}

/**
 * The requests of a step, as far as arguments and earlier answers make them.
 * @returns null: an answer that is still to come says what they will be
 * @throws Unsendable
 */
export const requestsAhead = (step: Step, given: Given): readonly Request[] | null => {
  let open = false
  const noticing = <T>(all: ReadonlyMap<string, T>): ReadonlyMap<string, T> => {
    const map = new Map(all)
    map.get = (name) => {
      open ||= !given.steps.has(name)
      return all.get(name)
    }
    return map
  }
  const known: Given = {
    ...given,
    steps: noticing(given.steps),
    links: noticing(given.links),
  }
  const items = step.each === null ? [undefined] : itemsOf(step, step.each, known)
  if (open || items === null) return null
  const requests: Request[] = []
  let isWaiting = false
  for (const item of items) {
    open = false
    try {
      requests.push(requestOf(step, { ...known, item }))
    } catch (error) {
      // What is wrong before an answer is named, no answer will mend.
      if (!(error instanceof Unsendable && open)) throw error
    }
    isWaiting ||= open
  }
  return isWaiting ? null : requests
}
