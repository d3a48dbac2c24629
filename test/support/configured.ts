// A configuration as the parts of a revision are given it, without a process around it.
import { rmSync } from 'node:fs'
import type { Configured } from '../../proxy/compose/scope.ts'
import { systemClock } from '../../proxy/compose/snapshot.ts'
import { loadFolder, prepareFolder, type Fields } from './deputy.ts'
import { QUIET } from './log.ts'

export const configuredBy = async (config: Fields) => {
  const dir = await prepareFolder({ upstream: 'http://127.0.0.1:9', config })
  const closes: (() => unknown)[] = []
  const begins: (() => void)[] = []
  const scope: Configured = {
    ...(await loadFolder(dir)),
    log: QUIET,
    clock: systemClock(),
    version: '0',
    print: () => {},
    left: () => 0,
    keep: (_name, _settings, make) => make().value,
    opened: (close) => void closes.push(close),
    begins: (begin) => void begins.push(begin),
  }
  return {
    scope,
    begin: () => begins.forEach((begin) => begin()),
    close: async () => {
      for (const close of closes) await close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
