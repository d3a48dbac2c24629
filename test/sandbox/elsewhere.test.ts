// `npm start` and `deputy serve` without what Windows lacks. It is no Windows: docs/compatibility.md says what it shows.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'

const at = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
/** What the play uses that only Unix has, where, and why it does no harm elsewhere. */
const USED: Readonly<Record<string, string>> = {
  'chmod in proxy/store/migrations.ts': 'the folder decides there who may open the database',
  'fchmod in proxy/audit/sink.ts': 'the folder decides there who may open the evidence',
  '/proc in proxy/audit/lock.ts':
    'absent, the lock goes by the pid alone, which every system knows',
  '/proc in proxy/audit/sink.ts': 'absent, the file is looked at more closely before each write',
  '/proc in proxy/observe/metrics.ts': 'absent, these figures are left out',
  'a Unix socket in proxy/net/control.ts':
    'absent, deputy logs that commands need the operators’ API',
  'SIGTERM sent in test/sandbox/world.ts':
    'it ends deputy at once there: the evidence has no last line',
}

test('the play holds where files have no modes, and there are no users, Unix sockets, /proc or signals', async ({
  onTestFinished,
}) => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-elsewhere-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const used = join(folder, 'used')
  writeFileSync(used, '')
  const child = spawn(
    process.execPath,
    [at('../../bin/run.js'), at('start.ts'), '--once', '--dir', join(folder, 'state')],
    {
      env: {
        ...process.env,
        NODE_OPTIONS: `--import=${pathToFileURL(at('elsewhere.ts')).href}`,
        DEPUTY_ELSEWHERE: used,
      },
    },
  )
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const code = await new Promise((resolve) => child.once('exit', resolve))
  expect([code, said]).toEqual([0, expect.stringMatching(/(\d+) of \1 steps held\n$/)])
  const lines = [...new Set(readFileSync(used, 'utf8').split('\n').slice(0, -1))]
  // Another one needs its reason here; one that is gone needs none.
  expect(lines.toSorted()).toEqual(Object.keys(USED).toSorted())
})
