// What a promise of time means in a test, however busy the machine is.
import { availableParallelism, loadavg } from 'node:os'

/** CPU time that a piece of synchronous work takes, ms: others on this machine do not count. */
export const cpuMs = (work: () => unknown): number => {
  const began = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(began)
  return (user + system) / 1_000
}

/** How many times slower than alone we are at this moment: a short spin, and what the kernel says of the last minute. */
const slowness = (): number => {
  const began = performance.now()
  const cpu = cpuMs(() => {
    for (const end = performance.now() + 20; performance.now() < end;);
  })
  return Math.max(
    1,
    (performance.now() - began) / cpu,
    (loadavg()[0] ?? 0) / availableParallelism(),
  )
}

/** A bound in ms for work that shares its processors: exact on an idle machine, and wider as others take their part. */
export const paced = (ms: number): number => ms * slowness()
