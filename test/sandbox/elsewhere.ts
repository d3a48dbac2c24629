// Takes away what Windows does not have, before anything else runs (`node --import`): modes of files, users, Unix sockets,
// /proc, signals that a program hears, a flush of a folder. What is used all the same does there what it does on Windows,
// and is written down, with the file that used it, in the file that DEPUTY_ELSEWHERE names. Paths stay those of this machine.
import childProcess from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
// They ask for the platform when they are loaded, and are this machine's.
for (const name of [
  'http',
  'https',
  'http2',
  'tls',
  'dns',
  'worker_threads',
  'sqlite',
  'os',
  'zlib',
])
  require(`node:${name}`)

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const OWN = fileURLToPath(import.meta.url)
const write = fs.appendFileSync
const told = new Set<string>()
/** The file of this repository that called. */
const caller = (): string => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 40
  const stack = new Error().stack ?? ''
  Error.stackTraceLimit = stackTraceLimit
  for (const [, url = ''] of stack.matchAll(/(?:file:\/\/)?(\/[^\s():]+\.(?:ts|js|mjs|cjs))/g))
    if (url !== OWN && url.startsWith(ROOT) && !url.includes('/node_modules/'))
      return url.slice(ROOT.length)
  return ''
}
const used = (what: string): void => {
  const line = `${what} in ${caller()}`
  const file = process.env['DEPUTY_ELSEWHERE']
  if (file === undefined || line.endsWith(' in ') || told.has(line)) return
  told.add(line)
  write(file, `${line}\n`)
}
const failure = (code: string, syscall: string, path: string): Error =>
  Object.assign(new Error(`${code}: ${syscall} '${path}'`), { code, syscall, path, errno: -1 })

Object.defineProperty(process, 'platform', { value: 'win32' })
for (const name of ['getuid', 'geteuid', 'getgid', 'getegid', 'getgroups', 'setuid', 'setgid'])
  Reflect.deleteProperty(process, name)

type Any = (...args: never[]) => unknown
type Bag = Record<string, Any>
const wrap = (of: object, name: string, make: (was: Any) => Any): void => {
  const bag = of as Bag
  const was = bag[name]
  if (was !== undefined) bag[name] = make(was.bind(of))
}
/** Only whether a file may be written to is known there. */
const moded = <T>(stat: T): T => {
  const found = stat as { mode?: number | bigint; uid: unknown; gid: unknown } | undefined
  if (found?.mode === undefined) return stat
  const big = typeof found.mode === 'bigint'
  const mode = (Number(found.mode) & 0o170000) | 0o666
  Object.assign(found, { mode: big ? BigInt(mode) : mode, uid: big ? 0n : 0, gid: big ? 0n : 0 })
  return stat
}
for (const name of ['statSync', 'lstatSync', 'fstatSync'])
  wrap(
    fs,
    name,
    (was) =>
      (...args) =>
        moded(was(...args)),
  )
for (const name of ['stat', 'lstat', 'fstat'])
  wrap(fs, name, (was) => (...args: unknown[]) => {
    const done = args.pop() as (error: unknown, stat: unknown) => void
    return was(
      ...([...args, (error: unknown, stat: unknown) => done(error, moded(stat))] as never[]),
    )
  })
for (const name of ['stat', 'lstat'])
  wrap(
    fs.promises,
    name,
    (was) =>
      async (...args) =>
        moded(await was(...args)),
  )
const handle = await fs.promises.open(OWN)
const handles = Object.getPrototypeOf(handle) as Bag
const statOfHandle = handles['stat'] as Any
handles['stat'] = async function (this: object, ...args: never[]) {
  return moded(await statOfHandle.apply(this, args))
}
handles['chmod'] = () => {
  used('chmod')
  return Promise.resolve()
}
await handle.close()
for (const name of ['chmodSync', 'fchmodSync', 'chownSync', 'fchownSync', 'lchownSync'])
  wrap(fs, name, () => () => used(name.replace('Sync', '')))
for (const name of ['chmod', 'chown', 'lchown'])
  wrap(fs.promises, name, () => () => {
    used(name)
    return Promise.resolve()
  })

/** What every Unix has at the root, and no Windows. */
const UNIX = /^\/(?:proc|dev|etc|run|var\/run|sys|bin|usr\/bin)(?:\/|$)/
const absent = (path: unknown, call: string): void => {
  const text = path instanceof URL ? path.pathname : path
  if (typeof text !== 'string' || !UNIX.test(text) || caller() === '') return
  used(/^\/[^/]+/.exec(text)?.[0] ?? '')
  throw failure('ENOENT', call, text)
}
for (const name of [
  'openSync',
  'readFileSync',
  'readlinkSync',
  'statSync',
  'readdirSync',
  'realpathSync',
])
  wrap(fs, name, (was) => (...args) => {
    absent(args[0], name)
    return was(...args)
  })
for (const name of ['open', 'readFile', 'readlink', 'stat', 'readdir', 'realpath'])
  wrap(fs.promises, name, (was) => async (...args) => {
    absent(args[0], name)
    return was(...args)
  })
wrap(fs, 'fsyncSync', (was) => (...args) => {
  if (!fs.fstatSync(Number(args[0])).isDirectory()) return was(...args)
  used('fsync of a folder')
  throw failure('EPERM', 'fsync', '')
})

const unixPath = (first: unknown): string | null => {
  const path =
    typeof first === 'object' && first !== null ? (first as { path?: unknown }).path : first
  return typeof path === 'string' && Number.isNaN(Number(path)) ? path : null
}
const servers = net.Server.prototype as unknown as Bag
const listen = servers['listen'] as Any
servers['listen'] = function (this: net.Server, ...args: never[]) {
  const path = unixPath(args[0])
  if (path === null) return listen.apply(this, args)
  used('a Unix socket')
  process.nextTick(() => this.emit('error', failure('EACCES', 'listen', path)))
  return this
}

/** Signals end a process there, and none of them is heard by it. */
const ended = (signal: unknown = 'SIGTERM'): unknown => {
  if (signal === 0) return 0
  const name = typeof signal === 'string' ? signal : 'a number'
  used(`${name} sent`)
  if (!/^SIG(?:TERM|KILL|INT|QUIT)$/.test(name)) throw failure('ENOSYS', 'kill', name)
  return 'SIGKILL'
}
const children = childProcess.ChildProcess.prototype as unknown as Bag
const kill = children['kill'] as Any
children['kill'] = function (this: object, signal?: unknown) {
  return kill.apply(this, [ended(signal)] as never[])
}
wrap(
  process,
  'kill',
  (was) => (pid: unknown, signal?: unknown) => was(...([pid, ended(signal)] as never[])),
)

syncBuiltinESMExports()
