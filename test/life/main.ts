// `npm run life [-- --seconds 20] [--only rolling]`: what an operator does and what befalls a fleet, under load, with the
// figures printed. Ends with 1 where a promise of docs/operate/upgrade.md was broken.
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { TABLES } from '../support/deputy.ts'
import { mount, NO_MOUNT } from '../support/mount.ts'
import { newSecret, rewrite, startFleet, type Fleet, type Load } from './fleet.ts'
import { pairMissing, startPair } from './pair.ts'

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '20' }, only: { type: 'string' } },
})
const MS = Number(values.seconds) * 1_000
/** Until a fault that is over must have healed. */
const HEALS_MS = 15_000
const tell = (line: string): void => void process.stdout.write(`${line}\n`)
let broken = 0
const hold = (promise: string, kept: boolean): void => {
  if (kept) return
  broken += 1
  tell(`  BROKEN: ${promise}`)
  // A long log is cut in its middle: what reads it tells this again at its end.
  const file = process.env['DEPUTY_FAILED'] ?? ''
  if (file !== '') appendFileSync(file, `life: ${promise}\n`)
}

const at = (times: readonly number[], share: number): string =>
  `${(times.toSorted((a, b) => a - b)[Math.floor(times.length * share)] ?? 0).toFixed(1)} ms`
const failures = ({ failed }: Load): string =>
  [...failed].map(([what, n]) => `${n} × ${what}`).join(', ')
const told = (name: string, load: Load, { upstream }: Fleet): void => {
  const failed = [...load.failed.values()].reduce((sum, n) => sum + n, 0)
  tell(
    `${name}: calls ${load.calls}, failed ${failed}, p50 ${at(load.times, 0.5)}, p99 ${at(load.times, 0.99)}, refreshes ${upstream.count()}, tokens lost ${upstream.lost.size}`,
  )
  if (failed > 0) tell(`  ${failures(load)}`)
}
const kept = async (fleet: Fleet): Promise<void> => {
  hold('no token is lost', fleet.upstream.lost.size === 0)
  let unserved = await fleet.unserved()
  // Ready again is a fact that the balancer hears of a moment later.
  for (const end = performance.now() + HEALS_MS; unserved.length > 0 && performance.now() < end;) {
    await pause(200)
    unserved = await fleet.unserved()
  }
  for (const one of unserved) tell(`  ${one}`)
  hold(`everybody is served again: ${unserved.join(', ')}`, unserved.length === 0)
}
const within = async (
  options: Parameters<typeof startFleet>[0],
  work: (fleet: Fleet) => Promise<void>,
): Promise<void> => {
  const fleet = await startFleet(options)
  try {
    await work(fleet)
    await kept(fleet)
  } finally {
    await fleet.close()
  }
}

const reloaded = (fleet: Fleet): number =>
  fleet.replicas[0]?.child.evidence().filter(({ event }) => event === 'config.reloaded').length ?? 0

/** Limits, secrets and tables, again and again. */
const reload = (): Promise<void> =>
  within({ store: 'sqlite:deputy.db', replicas: 1 }, async (fleet) => {
    const [replica] = fleet.replicas
    if (replica === undefined) return
    const quiet = await fleet.under(() => pause(MS / 4))
    told('  before', quiet, fleet)
    const load = await fleet.under(async () => {
      for (const end = performance.now() + MS; performance.now() < end;) {
        const secret = newSecret()
        rewrite(replica, (config) => {
          const limits = config['limits'] as Record<string, unknown>
          limits['calls'] = 5_000 + (secret.length % 7) + Math.floor(Math.random() * 100)
          const connections = config['connections'] as Record<string, Record<string, unknown>>
          for (const one of Object.values(connections)) one['client_secret'] = secret
        })
        writeFileSync(
          join(replica.dir, 'tables', 'group_roles.json'),
          JSON.stringify(TABLES['group_roles']),
        )
        await replica.child.reload()
        await pause(400)
      }
    })
    told('reload of the configuration, its secrets and tables', load, fleet)
    tell(`  ${reloaded(fleet)} configurations were in force`)
    hold(`a reload fails no call: ${failures(load)}`, load.failed.size === 0)
    hold('configurations were read again', reloaded(fleet) > 2)
  })

const rolling = async (): Promise<void> => {
  const missing = pairMissing()
  if (missing !== '') return skipped('a rolling restart', missing)
  const pair = await startPair()
  try {
    await within({ store: pair.url, replicas: 2 }, async (fleet) => {
      let restarts = 0
      const load = await fleet.under(async () => {
        const end = performance.now() + MS
        do {
          for (const replica of fleet.replicas) {
            await fleet.restart(replica)
            restarts += 1
          }
        } while (performance.now() < end)
      })
      told(`a rolling restart of two replicas (${restarts} restarts)`, load, fleet)
      hold(`a rolling restart fails no call: ${failures(load)}`, load.failed.size === 0)
    })
  } finally {
    pair.close()
  }
}

const failover = async (): Promise<void> => {
  const missing = pairMissing()
  if (missing !== '') return skipped('a failover', missing)
  const pair = await startPair()
  try {
    await within({ store: pair.url, replicas: 2 }, async (fleet) => {
      let away = 0
      const load = await fleet.under(async () => {
        await pause(MS / 4)
        const began = performance.now()
        pair.kill()
        pair.promote()
        away = performance.now() - began
        await pause(Math.max(MS / 2, 8_000))
      })
      told('PostgreSQL: the primary killed, its synchronous standby promoted', load, fleet)
      tell(
        `  no primary for ${(away / 1_000).toFixed(1)} s; calls failed over ${(load.span() / 1_000).toFixed(1)} s`,
      )
    })
  } finally {
    pair.close()
  }
}

/** The evidence's own disk fills up while calls run, and is emptied. */
const disk = async (): Promise<void> => {
  if (NO_MOUNT !== null) return skipped('a full disk', NO_MOUNT)
  const place = mkdtempSync(join(tmpdir(), 'deputy-evidence-'))
  const unmount = mount('-t', 'tmpfs', '-o', 'size=24m,mode=700', 'none', place)
  const audit = { sink: [`file:${join(place, 'audit.jsonl')}`] }
  try {
    await within({ store: 'sqlite:deputy.db', replicas: 1, config: { audit } }, async (fleet) => {
      const ballast = join(place, 'ballast')
      const load = await fleet.under(async () => {
        await pause(MS / 8)
        try {
          writeFileSync(ballast, Buffer.alloc(64 * 1024 ** 2))
        } catch (error) {
          tell(`  the disk of the evidence: ${error instanceof Error ? error.message : ''}`)
        }
        await pause(MS / 4)
        writeFileSync(ballast, '')
        await pause(MS / 4)
      })
      told('a full disk, for a while', load, fleet)
      const codes = [...load.failed.keys()]
      hold(
        `what cannot be recorded is refused, and nothing else fails: ${failures(load)}`,
        // While it is not ready its balancer sends it nothing.
        codes.every((what) => /^503 (?:audit_unavailable|no replica is ready)$/.test(what)),
      )
      hold('some calls were refused meanwhile', codes.length > 0)
    })
  } finally {
    unmount()
    rmSync(place, { recursive: true, force: true })
  }
}

const skipped = (what: string, why: string): void => {
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(`${what}: ${why}`)
  tell(`${what}: SKIPPED (${why})`)
}

const ALL = { reload, rolling, failover, disk } as const
for (const [name, run] of Object.entries(ALL))
  if (values.only === undefined || values.only === name) await run()
tell(broken === 0 ? 'every promise was kept' : `${broken} promises were broken`)
process.exitCode = broken === 0 ? 0 : 1
