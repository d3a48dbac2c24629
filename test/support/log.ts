// Logs for tests.
import type { Log } from '../../proxy/model.ts'

export const QUIET: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
