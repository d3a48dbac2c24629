// A new configuration while calls run: built whole beside the one in force, and put in its place, or refused with a reason.
import { needRestart } from '../config/fixed.ts'
import { located } from '../config/lines.ts'
import type { Loaded, Result } from '../config/load.ts'
import { changedSince, marksOf } from '../files.ts'
import { outOfDate } from '../net/certificate.ts'
import type { Kept } from './kept.ts'
import { buildRevision, type Place, type Revision } from './revision.ts'
import { messageOf } from '../problem.ts'
import type { Preparing } from './directories.ts'
import { prepare, readBeside, type Parts } from './snapshot.ts'
import type { Log } from '../model.ts'

/** Readings until what changes while it is read is left for the next time. */
const READINGS = 5
/** ms between looks at the files; what two looks see alike is read. */
const LOOK_MS = 1_000
/** ms until what was refused is tried again. */
const AGAIN_MS = 15_000
/** ms for which calls that began under the configuration before may ask its parts. */
const GRACE_MS = 60_000

export type Reloading = {
  /** Reads everything again now. Does not reject: what was refused is told. */
  readonly reload: () => Promise<void>
  /** How many configurations were in force so far, and why the newest files are not; null: they are. */
  readonly state: () => { readonly revision: number; readonly problem: string | null }
}

type Options = {
  readonly place: Place
  readonly kept: Kept
  readonly changed: Preparing['changed']
  /** Reads the configuration again. */
  readonly read: () => Promise<Result>
  readonly now: () => Revision
  /** From here on `next` is in force. */
  readonly put: (next: Revision) => void
}

/** What no other check tells, of parts that are well by themselves. */
const worse = (next: Parts, before: Revision, now: number): string | null => {
  if (next.policy.current() === null && before.policy.current() !== null)
    return `policy: ${next.policy.problem() ?? 'it does not answer'}`
  // What is shown now is better than what nobody will trust.
  const { tls } = next
  const late = tls === null || tls.cert === before.tls?.cert ? null : outOfDate(tls.cert, now)
  return late === null ? null : `listeners.agent_tls.cert: ${late}`
}

/** All that a configuration was made of, so that a signal alone changes nothing. */
const markOf = async (loaded: Loaded): Promise<string> =>
  loaded.sources.digest + (await marksOf(readBeside(loaded)))

/** The next configuration, not in force yet; or every problem of it. @throws Error that lists problems */
const build = async ({ place, kept, changed, now }: Options, loaded: Loaded) => {
  const { clock, log } = place.scope
  const before = now()
  const fixed = needRestart(before.config, loaded.config).map(
    (key) =>
      `${key}: cannot change while deputy runs: restart it, or write again what stood there; until then nothing of the new configuration is in force`,
  )
  if (fixed.length > 0) throw new Error(fixed.join('\n'))
  // Before its parts are in force, what is wrong with them is told as the reason why they are refused, once.
  let inForce = false
  const quiet: Log = {
    ...log,
    error: (fields, text) => {
      if (inForce) log.error(fields, text)
    },
  }
  const { keep, commit, drop } = kept.next()
  try {
    const prepared = await prepare(loaded, { clock, log: quiet, keep, changed })
    if ('problems' in prepared) throw new Error(prepared.problems.join('\n'))
    const { parts } = prepared
    const problem = worse(parts, before, clock.now())
    if (problem !== null) throw new Error(problem)
    const next = await buildRevision(place, { loaded, parts, keep, before })
    return {
      next,
      commit: () => {
        inForce = true
        return commit()
      },
    }
  } catch (error) {
    await drop()
    throw error
  }
}

const filesOf = (result: Result): readonly string[] =>
  'problems' in result
    ? result.sources.files
    : [...result.loaded.sources.files, ...readBeside(result.loaded)]

/** Looks at files again and again. @returns `follow`: these from now on; `end` */
const watchFiles = (first: readonly string[], changed: () => void) => {
  let files = first
  let seen = marksOf(first)
  let glimpsed = ''
  let looking = false
  const look = async (): Promise<void> => {
    const now = await marksOf(files)
    if (now === (await seen)) glimpsed = ''
    // Whoever writes may not be done.
    else if (now !== glimpsed) glimpsed = now
    else {
      seen = Promise.resolve(now)
      changed()
    }
  }
  const timer = setInterval(() => {
    if (looking) return
    looking = true
    void look().finally(() => (looking = false))
  }, LOOK_MS)
  timer.unref()
  return {
    marks: () => marksOf(files),
    /** @param marks of these files, as they were read */
    follow: (next: readonly string[], marks: string): void => {
      if (JSON.stringify(next) === JSON.stringify(files)) return
      files = next
      seen = Promise.resolve(marks)
    },
    end: (): void => clearInterval(timer),
  }
}

/** What is told of each try: evidence, log, metrics and `/readyz?verbose`. */
const createReport = ({ place: { scope, lasting } }: Options, loaded: Loaded) => {
  const { log, clock } = scope
  let [revision, problem, at] = [1, null as string | null, clock.now()]
  const { watch } = lasting.metrics
  watch(
    'deputy_config_last_reload_successful',
    'gauge',
    '1: the newest configuration is in force; 0: it was refused, and the one before serves.',
    () => (problem === null ? 1 : 0),
  )
  watch(
    'deputy_config_last_reload_success_timestamp_seconds',
    'gauge',
    'When the configuration in force was read.',
    () => at / 1_000,
  )
  const { path } = loaded
  return {
    state: () => ({ revision, problem }),
    accepted: (of: Loaded): void => {
      revision += 1
      problem = null
      at = clock.now()
      log.info({ path, revision }, 'the configuration was read again and is in force')
      const digest = `hmac:${lasting.sealer.hmac('config', of.sources.digest)}`
      lasting.note('config.reloaded', { revision, digest })
    },
    same: (): void => {
      if (problem !== null)
        log.info({ path, revision }, 'the files are as the configuration in force')
      problem = null
    },
    rejected: (problems: readonly string[]): void => {
      const said = problems.join('; ')
      if (said === problem) return
      problem = said
      log.error(
        { path, revision, problems },
        // What is told is told again where it is another: the log counts only what is alike.
        `the new configuration is refused, the last good one serves on: ${said}`,
      )
      lasting.note('config.rejected', { revision, problems })
    },
  }
}

export const createReloading = (options: Options): Reloading => {
  const { place, now, put } = options
  const { opened, log } = place.scope
  const report = createReport(options, now().loaded)
  const ending = new Set<{ readonly timer: NodeJS.Timeout; readonly end: () => Promise<void> }>()
  opened(async () => {
    for (const { timer, end } of ending) {
      clearTimeout(timer)
      await end()
    }
  })
  /** Those who began under it may still ask its parts. */
  const later = (end: () => Promise<void>): void => {
    const each = {
      end,
      timer: setTimeout(() => {
        ending.delete(each)
        void end()
      }, GRACE_MS).unref(),
    }
    ending.add(each)
  }
  /** All files as they stood at one moment: a text of now with a secret of a moment later would be nobody's configuration. */
  const readAtOnce = async (): Promise<Result> => {
    let marks = await watching.marks()
    for (let n = 1; ; n++) {
      const result = await options.read()
      const files = filesOf(result)
      const after = await marksOf(files)
      watching.follow(files, after)
      if (after === marks || 'problems' in result) return result
      if (n === READINGS)
        return {
          ...result.loaded,
          rest: null,
          problems: ['the files change while they are read: they are read again soon'],
        }
      marks = after
    }
  }
  const turn = async (): Promise<void> => {
    const before = now()
    const result = await readAtOnce()
    if ('problems' in result)
      return report.rejected(await located(result.path ?? '', result.problems))
    const { loaded } = result
    const made = await markOf(loaded)
    if (made === (await mark)) return report.same()
    try {
      const { next, commit } = await build(options, loaded)
      put(next)
      mark = Promise.resolve(made)
      const retire = commit()
      // At once: what works by itself would go on by what is not in force, such as a webhook's old address.
      const closed = before.close()
      later(async () => {
        await closed
        await retire()
      })
      report.accepted(loaded)
    } catch (error) {
      report.rejected(await located(loaded.path, messageOf(error).split('\n')))
    }
  }
  let running: Promise<void> = Promise.resolve()
  let waiting: Promise<void> | null = null
  /** Whoever asks while a turn waits is answered by that one: it has not read anything yet. */
  const reload = (): Promise<void> =>
    (waiting ??= running =
      running
        .then(() => {
          waiting = null
          return turn()
        })
        .catch((error: unknown) =>
          log.error({ err: error }, 'the configuration was not read again'),
        ))
  const first = now().loaded
  let mark = markOf(first)
  const files = filesOf({ loaded: first })
  const watching = watchFiles(files, () => void reload())
  // What it names may have been mended beside the files that are looked at.
  const trying = setInterval(() => {
    if (report.state().problem !== null) void reload()
  }, AGAIN_MS).unref()
  // What changed while deputy started was perhaps read before.
  void changedSince(files, first.sources.at).then((changed) => (changed ? reload() : undefined))
  opened(async () => {
    watching.end()
    clearInterval(trying)
    await running
  })
  return { reload, state: report.state }
}
