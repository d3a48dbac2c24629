// What the tables of a policy want to know beside what each input says, so that it is gathered only where they ask. Pure.
import type { Asks } from '../model.ts'
import { historyAskOf } from './history_ask.ts'

/** @throws Error of a row that asks for what cannot be gathered */
export const asksOf = (grants: unknown): Asks => ({ history: historyAskOf(grants) })
