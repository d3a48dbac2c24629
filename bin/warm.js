// Fills the compile cache beside it: deputy starts, shows a page, refuses a call and ends, as its first users would have
// it do. An image does this while it is built. Its children run with the flags of Node that this process was given.
import { spawn } from 'node:child_process'
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const deputy = fileURLToPath(new URL('deputy.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'deputy-warm-'))
const config = ['--config', join(folder, 'deputy.yaml')]

/** Ends well, or this process does not. @param during is called once it has said `text`, with all that it said */
const run = async (args, text = null, during = async () => {}) => {
  const child = spawn(process.execPath, [...process.execArgv, deputy, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: 120_000, // a build ends, and says so
    killSignal: 'SIGKILL',
  })
  let said = ''
  const ended = new Promise((resolve) => child.once('close', resolve))
  const ready = new Promise((resolve) => {
    child.stderr.on('data', (chunk) => {
      said += chunk
      if (text !== null && said.includes(text)) resolve('ready')
    })
  })
  const doing =
    text !== null && (await Promise.race([ready, ended])) === 'ready' ? during(said) : null
  const failed = await Promise.resolve(doing).then(
    () => null,
    (error) => error,
  )
  if (text !== null) child.kill('SIGTERM')
  const code = await ended
  if (code !== 0) throw new Error(`deputy ${args[0]} ended with ${code}:\n${said}`)
  if (failed !== null) throw failed
}
const address = (said, name) => new RegExp(`^${name}: (?:http://)?(\\S+)$`, 'm').exec(said)?.[1]

try {
  await run(['init', '--dir', folder])
  appendFileSync(
    config[1],
    'listeners: { agent: "127.0.0.1:0", admin: "127.0.0.1:0", connect: "127.0.0.1:0" }\n',
  )
  await run(['validate', '--offline', ...config])
  await run(['serve', ...config], 'deputy is ready', async (said) => {
    const [agent, connect, admin] = ['agent', 'connect', 'admin'].map((name) => address(said, name))
    const tag = { headers: { 'Deputy-User': 'alice@example.com' } }
    for (const [url, status] of [
      [`http://${agent}/api.github.com/user`, 403],
      [`http://${agent}/v1/auth/status?id=none`, 404],
      [`http://${connect}/connections`, 401],
    ]) {
      const answer = await fetch(url, { ...tag, redirect: 'manual' })
      if (answer.status !== status) throw new Error(`${url} answered ${answer.status}`)
    }
    await run(['healthz', '--address', admin])
  })
} finally {
  rmSync(folder, { recursive: true, force: true })
}
