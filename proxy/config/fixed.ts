// What cannot change while deputy runs, and what says so.
import { isDeepStrictEqual } from 'node:util'
import type { Config } from './schema.ts'

/** Keys of the configuration, with all below them. */
const FIXED = [
  'state', // the evidence and the vault are open in it
  'listeners', // they are bound
  'forward', // as those
  'identity.trust', // what a tag is
  'identity.header', // listeners look for it
  'identity.agent_header', // as that one
  'vault', // it is open
  'connect.url', // links that were given out begin with it
  'operators_sign_in.url', // a listener answers to its host
  'audit.sink',
  'audit.spool',
  'audit.spool_size',
  'audit.fsync',
  'audit.user_ids', // two spellings of one person would stand in one chain
  'audit.inputs', // its file is open
  'audit.inputs_key',
  'audit.rotate',
  'audit.retention',
  'telemetry.otlp',
  'telemetry.headers',
  'telemetry.insecure',
  'limits.headers', // of the listeners
] as const
/** Below those, what is read again all the same: the certificate that a listener shows, and whose it takes. */
const LIVE: ReadonlySet<string> = new Set(
  ['cert', 'key', 'client_ca'].map((name) => `listeners.agent_tls.${name}`),
)

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
const member = (value: unknown, name: string): unknown =>
  isRecord(value) && Object.hasOwn(value, name) ? value[name] : undefined

/** Paths of the deepest members in which the two differ. */
const differing = (path: string, before: unknown, after: unknown): readonly string[] => {
  if (LIVE.has(path) || isDeepStrictEqual(before, after)) return []
  if (!isRecord(before) || !isRecord(after)) return [path]
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((name) =>
    differing(`${path}.${name}`, member(before, name), member(after, name)),
  )
}

const at = (config: Config, path: string): unknown =>
  path.split('.').reduce<unknown>((value, name) => member(value, name), config)

/** Keys that differ and cannot change without a restart. */
export const needRestart = (before: Config, after: Config): readonly string[] => {
  const door = (config: Config): boolean => config.connect.sign_in === 'local'
  const asks = ({ listeners: { agent_tls: tls } }: Config): boolean => tls?.client_ca !== undefined
  const tls = before.listeners.agent_tls !== undefined && after.listeners.agent_tls !== undefined
  return [
    ...FIXED.flatMap((path) => differing(path, at(before, path), at(after, path))),
    // The one-time code was printed when deputy started.
    ...(door(before) === door(after) ? [] : ['connect.sign_in']),
    // A listener asks every client for a certificate, or none.
    ...(tls && asks(before) !== asks(after) ? ['listeners.agent_tls.client_ca'] : []),
  ]
}
