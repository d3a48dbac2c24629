// The system's Chromium, where there is one.
import { existsSync } from 'node:fs'
import { chromium } from 'playwright-core'
import type { Browser } from 'playwright-core'

const PATH = '/usr/bin/chromium'
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** False is said aloud; under DEPUTY_NO_SKIP=1 it throws. */
export const haveChromium = (): boolean => {
  if (existsSync(PATH)) return true
  const missing = `${PATH} is missing (apt-get install chromium): nothing is tried in a real browser`
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)
  process.stderr.write(`SKIPPED: ${missing}\n`)
  return false
}

/** A browser with an empty profile of its own; names of the world outside do not resolve. */
export const startChromium = (): Promise<Browser> =>
  chromium.launch({
    executablePath: PATH,
    args: [...FLAGS, '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  })
