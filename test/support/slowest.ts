// What `npm test` says at its end: which files took longest. A suite stays quick where everybody sees what is not.
import type { Reporter } from 'vitest/node'

const SHOWN = 10

type Timed = {
  readonly file: string
  /** Imports and set-up included. */
  readonly ms: number
}

/** The slowest files with what they took, slowest first; of a run that has no more files than are shown, none. */
export const slowest = (files: readonly Timed[]): readonly string[] =>
  files.length <= SHOWN
    ? []
    : files
        .toSorted((a, b) => b.ms - a.ms)
        .slice(0, SHOWN)
        .map(({ file, ms }) => `${(ms / 1_000).toFixed(1).padStart(7)} s  ${file}`)

export const slowestFiles = (
  print: (text: string) => void = (text) => void process.stdout.write(text),
): Reporter => ({
  onTestRunEnd(modules) {
    const shown = slowest(
      modules.map((module) => {
        const { setupDuration, collectDuration, duration } = module.diagnostic()
        return { file: module.relativeModuleId, ms: setupDuration + collectDuration + duration }
      }),
    )
    if (shown.length > 0) print(`\n The ${SHOWN} slowest files\n${shown.join('\n')}\n\n`)
  },
})
