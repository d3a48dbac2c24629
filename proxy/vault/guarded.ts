// A store that fails is told as one problem, whatever it is a store of.
import { Problem } from '../problem.ts'

type Guarded = <T>(work: () => Promise<T>) => Promise<T>

/**
 * Rejects with Problem vault_unavailable when the store fails; a Problem stays what it is.
 * @param sentence what cannot be done
 * @param own errors of the work itself, which stay what they are too
 */
export const createGuarded =
  (sentence: string, own: (error: unknown) => boolean = () => false): Guarded =>
  async (work) => {
    try {
      return await work()
    } catch (cause) {
      if (cause instanceof Problem || own(cause)) throw cause
      throw new Problem('vault_unavailable', sentence, { cause })
    }
  }
