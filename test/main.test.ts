// The command line as a process: how it ends where nobody reads on.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const BIN = fileURLToPath(new URL('../bin/deputy.js', import.meta.url))

test('who reads no further, as `head` does, ends a command without a complaint', async () => {
  const child = spawn(process.execPath, [BIN, 'providers', 'test', 'github'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  child.stdout.destroy()
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  expect([code, said]).toEqual([141, ''])
})
