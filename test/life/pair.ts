// A primary and its synchronous standby (Debian's PostgreSQL), behind one address that can be turned from one to the other.
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { freePort } from '../support/ports.ts'

const LIB = '/usr/lib/postgresql'
const bin = (): string | null => {
  const versions = existsSync(LIB) ? readdirSync(LIB).sort((a, b) => Number(b) - Number(a)) : []
  return (
    versions
      .map((version) => join(LIB, version, 'bin'))
      .find((dir) => existsSync(join(dir, 'initdb'))) ?? null
  )
}
/** Why there is none; empty: there is. */
export const pairMissing = (): string =>
  bin() === null
    ? `no initdb below ${LIB} (apt-get install postgresql)`
    : process.getuid?.() === 0
      ? ''
      : 'only root can run servers as the user postgres'

export type Pair = {
  readonly url: string
  /** The primary ends at once, as by a power cut. */
  readonly kill: () => void
  /** The standby becomes the primary, and the address leads to it. */
  readonly promote: () => void
  readonly close: () => void
}

/** One address; whoever is connected when it turns is cut off. */
const startSwitch = async (first: number) => {
  const open = new Set<Socket>()
  let to = first
  const server = createServer((near) => {
    const far = connect(to, '127.0.0.1')
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        open.delete(socket)
        other.destroy()
      })
      socket.pipe(other)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = (): void => open.forEach((socket) => socket.destroy())
  return {
    port: (server.address() as AddressInfo).port,
    turn: (port: number): void => {
      to = port
      cut()
    },
    close: (): void => {
      cut()
      server.close()
    },
  }
}

export const startPair = async (): Promise<Pair> => {
  const folder = mkdtempSync(join(tmpdir(), 'pair-'))
  chmodSync(folder, 0o777)
  const [a, b] = [join(folder, 'a'), join(folder, 'b')]
  const ports = { a: await freePort(), b: await freePort() }
  const run = (tool: string, ...args: readonly string[]): void =>
    void execFileSync(
      '/usr/sbin/runuser',
      ['-u', 'postgres', '--', join(bin() ?? '', tool), ...args],
      {
        cwd: folder,
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    )
  const start = (data: string, port: number): void =>
    run(
      'pg_ctl',
      'start',
      '-w',
      '-D',
      data,
      '-l',
      `${data}.log`,
      '-o',
      `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${folder} -c max_connections=200`,
    )
  run('initdb', '-D', a, '-A', 'trust', '--no-sync', '--encoding=UTF8', '--locale=C')
  start(a, ports.a)
  run(
    'pg_basebackup',
    '-D',
    b,
    '-R',
    '-h',
    '127.0.0.1',
    '-p',
    String(ports.a),
    '-U',
    'postgres',
    '--no-sync',
  )
  start(b, ports.b)
  const sql = async (port: number, text: string): Promise<readonly unknown[]> => {
    const client = new Client({ host: '127.0.0.1', port, user: 'postgres', database: 'postgres' })
    await client.connect()
    try {
      return (await client.query<Record<string, unknown>>(text)).rows
    } finally {
      await client.end()
    }
  }
  // What is committed is at both: a token that was stored is not lost with the primary.
  await sql(ports.a, `ALTER SYSTEM SET synchronous_standby_names = '*'`)
  await sql(ports.a, 'SELECT pg_reload_conf()')
  const synced = `SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'`
  while ((await sql(ports.a, synced)).length === 0) await new Promise((r) => setTimeout(r, 50))
  const turning = await startSwitch(ports.a)
  return {
    url: `postgres://postgres@127.0.0.1:${turning.port}/postgres`,
    kill: () => run('pg_ctl', 'stop', '-D', a, '-m', 'immediate', '-w'),
    promote: () => {
      run('pg_ctl', 'promote', '-D', b, '-w')
      turning.turn(ports.b)
    },
    close: () => {
      turning.close()
      for (const data of [a, b])
        if (existsSync(join(data, 'postmaster.pid')))
          run('pg_ctl', 'stop', '-D', data, '-m', 'immediate', '-w')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
