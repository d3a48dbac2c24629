// SDKs of other languages: a program that takes steps as lines of JSON and answers each by one.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Ask, Said } from './measure.ts'

export type Program = { readonly ask: Ask; readonly close: () => Promise<void> }

/** Starts it. What it says on standard error is told where it ends before it has answered. */
export const startProgram = (
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Program => {
  const child = spawn(command, args, { env: { PATH: process.env['PATH'] ?? '', ...env } })
  const waiting = new Map<
    number,
    { resolve: (said: Said) => void; reject: (error: Error) => void }
  >()
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => void (said = (said + chunk.toString()).slice(-8_000)))
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      for (const { reject } of waiting.values()) reject(new Error(`${command} ended: ${said}`))
      resolve()
    }
    child.once('error', end)
    child.once('exit', end)
  })
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, ...answer } = JSON.parse(line) as Said & { readonly id: number }
    waiting.get(id)?.resolve(answer)
    waiting.delete(id)
  })
  let asked = 0
  return {
    ask: (sdk, step, tag) =>
      new Promise((resolve, reject) => {
        asked += 1
        waiting.set(asked, { resolve, reject })
        child.stdin.write(`${JSON.stringify({ id: asked, sdk, step, tag })}\n`)
      }),
    close: async () => {
      child.stdin.end()
      const late = setTimeout(() => child.kill('SIGKILL'), 10_000)
      await ended
      clearTimeout(late)
    },
  }
}
