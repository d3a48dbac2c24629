// What a database must offer so that a store can be built on it.
import type { Store } from '../model.ts'

export type Value = string | number | null
export type Params = Readonly<Record<string, Value>>
export type Raw = Readonly<Record<string, unknown>>
/** SQL with `:names`. */
export type Statement = readonly [sql: string, params: Params]
/**
 * Yields statements and gets their rows: driven without a pause where the database answers at once.
 */
export type Work<T> = Generator<Statement, T, readonly Raw[]>
export type Tell = (topic: string, key: string) => void
/** `refresh` has connections of its own: a rotated token must find its way in. */
export type Lane = 'calls' | 'refresh'

export type Database = {
  /** The time in ms by which leases run, as SQL; `:now` is the caller's. */
  readonly now: string
  /** What ends with this process as others see it; null: nothing that they could see. */
  readonly holder: () => number | null
  /** SQL over `lease_holder`: whoever took the lease is dead, for certain. */
  readonly dead: string
  /** Lets one transaction at a time past this key; nothing where there is one writer anyway. */
  readonly serialise: (key: string) => readonly Statement[]
  readonly query: (statement: Statement) => Promise<readonly Raw[]>
  /** All or nothing; what was told is heard everywhere once it is committed. */
  readonly transact: <T>(work: (tell: Tell) => Work<T>, lane?: Lane) => Promise<T>
  readonly publish: Store['publish']
  readonly subscribe: Store['subscribe']
  /**
   * Throws when what lies under the store is not what was opened (pages in a cache would not tell),
   * or has no room for us.
   */
  readonly intact?: () => void
  readonly connections?: NonNullable<Store['connections']>
  /**
   * What was deleted is nowhere any more: `key`, a JSON list without its end, begins the events about
   * whom it concerned.
   */
  readonly forget: (key: string) => Promise<void>
  readonly close: () => Promise<void>
}
