// What `npm test` says last: which tests failed, in a line each. A long log is cut; its end is what people read.
import { appendFileSync } from 'node:fs'
import type { Reporter } from 'vitest/node'

const LONGEST = 300

/** `test/x.test.ts > its name: what was wrong`, the first line of it, at most 300 characters. */
export const failedLine = (file: string, name: string, message: string | undefined): string =>
  `${file} > ${name}: ${(message ?? 'no message').split('\n')[0] ?? ''}`.slice(0, LONGEST)

/** `path`: where the lines are kept as well, for whoever runs more than this (`.ci/run`). */
export const failedTests = (
  path: string | undefined,
  print: (text: string) => void = (text) => void process.stdout.write(text),
): Reporter => ({
  onTestRunEnd(modules) {
    const lines = modules.flatMap((module) => [
      ...module
        .errors()
        .map(({ message }) => failedLine(module.relativeModuleId, 'the file', message)),
      ...[...module.children.allTests('failed')].map((test) =>
        failedLine(module.relativeModuleId, test.fullName, test.result().errors?.[0]?.message),
      ),
    ])
    if (lines.length === 0) return
    print(`\n Failed\n${lines.map((line) => `  ${line}`).join('\n')}\n\n`)
    if (path !== undefined) appendFileSync(path, `${lines.join('\n')}\n`)
  },
})
