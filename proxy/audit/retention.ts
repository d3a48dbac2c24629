// Removes evidence that is older than the retention, after the evidence itself says so.
import { unlinkSync } from 'node:fs'
import { basename } from 'node:path'
import type { Clock, Journal, Log } from '../model.ts'
import { member } from './chain.ts'
import { expired, readSegment } from './segments.ts'

/**
 * @returns what removes the segments that are too old by now; what fails is logged, and tried again
 * by the next call
 */
export const createRetention = ({
  files,
  retentionMs,
  waits = () => false,
  clock,
  log,
  append,
}: {
  readonly files: readonly { readonly path: string }[]
  /** ms; absent: nothing is ever removed. */
  readonly retentionMs: number | undefined
  /** What somebody else does not have yet stays. */
  readonly waits?: ((file: string) => boolean) | undefined
  readonly clock: Pick<Clock, 'now'>
  readonly log: Log
  readonly append: Journal['append']
}): (() => void) => {
  /** Removes what is older than the retention, once the evidence says so. */
  const expire = async (before: number) => {
    for (const { path } of files)
      for (const each of expired(path, before)) {
        if (waits(each)) {
          log.warn({ file: each }, 'old evidence stays, because the collector does not have it yet')
          continue
        }
        const segment = await readSegment(each)
        if (segment === null) throw new Error(`${each} is no evidence, and stays`)
        await append(
          'segment.removed',
          member('segment', { file: basename(each), ...segment.last }),
        )
        unlinkSync(each)
      }
  }

  return () => {
    if (retentionMs === undefined) return
    expire(clock.now() - retentionMs).catch((error: unknown) =>
      log.error({ err: error }, 'old evidence could not be removed; tried again in an hour'),
    )
  }
}
