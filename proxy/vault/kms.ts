// A program that wraps and unwraps the keys of the ring: two verbs over its standard input and output (docs/operate/kms.md).
import { constants, type BigIntStats } from 'node:fs'
import { access, realpath } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { statOf, toldOf, Unreadable } from '../files.ts'

/** Asks the program. Rejects with an Error that says what is wrong and quotes neither a key nor the program's own output of one. */
export type Kms = {
  /** 32 bytes → what the program wants to see again. */
  readonly wrap: (kid: string, key: Buffer) => Promise<string>
  readonly unwrap: (kid: string, wrapped: string) => Promise<Buffer>
  /** Rejects where the program could not be run at all; starts nothing. */
  readonly present: () => Promise<void>
}
type KmsOptions = {
  /** Absolute path of the program. */
  readonly program: string
  /** All that it sees of the environment. */
  readonly env: Readonly<Record<string, string>>
  /** ms for one question. */
  readonly deadline?: number
}

export const KEY_BYTES = 32
const DEADLINE_MS = 10_000
/** Bytes of an answer; of what it complains. */
const MOST_ANSWER = 65_536
const MOST_STDERR = 65_536
/** Characters of a complaint that are told. */
const MOST_TOLD = 300
const MOST_WRAPPED = 16_384
const MOST_ANCESTORS = 64

/** It was asked and gave no good answer: another time it may. */
const failed = (program: string, what: string): Unreadable =>
  new Unreadable(`vault.kms: ${program} ${what}`)

/** No folder above may be changed by others: they could put another program there. */
const safeFolders = async (path: string, ours: (found: BigIntStats) => boolean): Promise<void> => {
  const groups = [0, process.getgid?.() ?? 0]
  let at = path
  for (let n = 0; n < MOST_ANCESTORS && dirname(at) !== at; n += 1) {
    at = dirname(at)
    const folder = await statOf(at)
    const writers = Number(folder.mode) & (groups.includes(Number(folder.gid)) ? 0o002 : 0o022)
    // In a sticky folder (/tmp) nobody replaces the files of others.
    if (!ours(folder) || (writers !== 0 && (Number(folder.mode) & 0o1000) === 0))
      throw new Error(
        `vault.kms: ${path} could be replaced by others, because of the folder ${at}: move it to one that belongs to root`,
      )
  }
}
/** Whoever could write the program could have every key. */
const trusted = async (program: string): Promise<string> => {
  let path: string
  try {
    path = await realpath(program)
    await access(path, constants.X_OK)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    throw new Error(
      code === 'EACCES'
        ? `vault.kms: ${program} may not be run by the user that runs deputy: chmod 755 it`
        : `vault.kms: ${toldOf(error)}`,
      { cause: error },
    )
  }
  const uid = process.getuid?.() ?? 0
  const ours = (found: BigIntStats): boolean => [0, uid].includes(Number(found.uid))
  const file = await statOf(path)
  if (!file.isFile()) throw new Error(`vault.kms: ${program} is no file: name a program`)
  if (!ours(file) || (Number(file.mode) & 0o022) !== 0)
    throw new Error(
      `vault.kms: ${path} could be changed by others: it must belong to root or to the user that runs deputy, and nobody else may write to it (chown root, chmod 755)`,
    )
  // Whoever replaces a link names another program, so its folder counts as well as that of what it leads to.
  const link = join(await realpath(dirname(program)), basename(program))
  for (const each of new Set([path, link])) await safeFolders(each, ours)
  return path
}

/** What it complained of, as one short line: nothing of it that could be a key, however it is written. */
const complaint = (stderr: Buffer, secrets: readonly string[]): string => {
  let text = stderr.toString('utf8')
  for (const secret of secrets) text = text.replaceAll(secret, '[…]')
  text = text
    .replaceAll(/[A-Za-z0-9+/_=-]{40,}|[A-Za-z0-9+_=-]{20,}/g, '[…]')
    // Bytes one by one: with \x or 0x before each, or in a list.
    .replaceAll(/(?:(?:\\x|0x)[0-9a-f]{1,2}[\s,:;]*){8,}|(?:[0-9a-f]{1,3}[\s,:;]+){8,}/gi, '[…]')
    .replaceAll(/[^\x20-\x7e\u00a0-\uffff]+/g, ' ')
    .trim()
  if (text === '') return ''
  return `: ${text.length > MOST_TOLD ? `${text.slice(0, MOST_TOLD)}…` : text}`
}

type Run = {
  readonly path: string
  readonly named: string
  readonly env: Readonly<Record<string, string>>
  readonly deadline: number
}
/** Runs it once, without a shell; at its end nothing that it started is left. @returns its standard output */
const ask = async (run: Run, input: string, secrets: readonly string[]): Promise<Buffer> => {
  const { spawn } = await import('node:child_process')
  return new Promise((resolve, reject) => {
    const child = spawn(run.path, [], {
      cwd: '/',
      env: run.env,
      detached: true, // a group of its own, so that its children end with it
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const out: Buffer[] = []
    const err: Buffer[] = []
    let [size, errors] = [0, 0]
    let ended = false
    const end = (): void => {
      if (ended) return // the number of its group may be somebody else's by now
      ended = true
      clearTimeout(timer)
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
      } catch {
        // The group is gone: that is what was wanted.
      }
      child.stdout.destroy()
      child.stderr.destroy()
    }
    const refuse = (what: string): void => {
      end()
      reject(failed(run.named, `${what}${complaint(Buffer.concat(err), secrets)}`))
    }
    const timer = setTimeout(
      () => refuse(`did not answer within ${run.deadline / 1_000} s and was ended`),
      run.deadline,
    )
    child.stdout.on('data', (chunk: Buffer) => {
      out.push(chunk)
      if ((size += chunk.length) > MOST_ANSWER) refuse(`answered more than ${MOST_ANSWER} bytes`)
    })
    child.stderr.on('data', (chunk: Buffer) => {
      if (errors < MOST_STDERR) err.push(chunk)
      errors += chunk.length
    })
    child.on('error', (error) =>
      refuse(`cannot be run (${'code' in error ? String(error.code) : error.message})`),
    )
    // Whoever does not read the question may still answer, or end: that is judged.
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
    child.on('close', (code, signal) => {
      if (code !== 0)
        return refuse(
          code === null ? `was ended by ${signal ?? 'a signal'}` : `refused (exit status ${code})`,
        )
      end()
      resolve(Buffer.concat(out))
    })
  })
}

const memberOf = (answer: Buffer, name: string): string | null => {
  try {
    const parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(answer)) as unknown
    const found =
      typeof parsed === 'object' && parsed !== null && Object.hasOwn(parsed, name)
        ? (parsed as Readonly<Record<string, unknown>>)[name]
        : null
    return typeof found === 'string' ? found : null
  } catch {
    return null // the cause would quote it
  }
}
const keyOf = (text: string | null): Buffer | null => {
  const key = Buffer.from(text ?? '', 'base64')
  return key.length === KEY_BYTES && key.toString('base64') === text ? key : null
}

export const createKms = ({ program, env, deadline = DEADLINE_MS }: KmsOptions): Kms => {
  const question = async (verb: string, about: object, secrets: readonly string[]) =>
    ask(
      { path: await trusted(program), named: program, env, deadline },
      `deputy-kms 1 ${verb}\n${JSON.stringify(about)}\n`,
      secrets,
    )
  return {
    present: async () => void (await trusted(program)),
    wrap: async (kid, key) => {
      const written = ['base64', 'base64url', 'hex'] as const
      const forms = written.map((form) => key.toString(form).replace(/=+$/, ''))
      const secrets = [...forms, key.toString('hex').toUpperCase()]
      const answer = await question('wrap', { kid, key: key.toString('base64') }, secrets)
      const wrapped = memberOf(answer, 'wrapped')
      if (wrapped === null || !/^[\x21-\x7e]+$/.test(wrapped) || wrapped.length > MOST_WRAPPED)
        throw failed(
          program,
          'gave no {"wrapped": "…"}, printable ASCII of at most 16 KiB, for wrap',
        )
      if (secrets.some((secret) => wrapped.includes(secret)))
        throw failed(program, 'gave the key itself back for wrap: it wraps nothing')
      return wrapped
    },
    unwrap: async (kid, wrapped) => {
      const answer = await question('unwrap', { kid, wrapped }, [])
      const key = keyOf(memberOf(answer, 'key'))
      if (key === null)
        throw failed(
          program,
          `gave no {"key": "…"}, base64 of ${KEY_BYTES} bytes, for unwrap of ${kid}`,
        )
      return key
    },
  }
}
