// `npm run bench`: what deputy costs, part by part, as Markdown. `--only vault,pages` runs those parts; a call, refresh
// or page that went wrong ends it with exit status 1. Loopback only, bounded in count and time.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { measureCalls, say, type Size } from './calls.ts'
import { measureSwitch } from './agents.ts'
import { measureBundles } from './bundles.ts'
import { measureClassify } from './classify.ts'
import { measureEntitlements } from './entitlements.ts'
import { measureEnvelopes } from './envelopes.ts'
import { measureExplain } from './explain.ts'
import { measureHeld } from './held.ts'
import { measureHttp2 } from './http2.ts'
import { measureLimits } from './limits.ts'
import { measureMcp } from './mcp.ts'
import { measurePages } from './pages.ts'
import { measurable, root } from './processes.ts'
import { measurePrograms } from './programs.ts'
import { measureRefresh } from './refresh.ts'
import { page, right, type Report, type Section } from './report.ts'
import { measureRedact } from './redact.ts'
import { measureScale } from './scale.ts'
import { measureScim } from './scim.ts'
import { measureStarts } from './starts.ts'
import { measureTelemetry } from './telemetry.ts'
import { measureTools } from './tools.ts'
import { measureVault } from './vault.ts'

const { values: flags } = parseArgs({
  options: {
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    window: { type: 'string' },
    connections: { type: 'string' },
    json: { type: 'string' },
  },
})
const PARTS: Readonly<Record<string, (size: Size) => Promise<Section>>> = {
  programs: measurePrograms,
  starts: measureStarts,
  vault: measureVault,
  refresh: measureRefresh,
  consent: measureHeld,
  agents: measureSwitch,
  limits: measureLimits,
  http2: measureHttp2,
  pages: measurePages,
  entitlements: measureEntitlements,
  classify: measureClassify,
  envelopes: measureEnvelopes,
  redact: measureRedact,
  scim: measureScim,
  mcp: measureMcp,
  tools: measureTools,
  bundles: measureBundles,
  explain: measureExplain,
  scale: measureScale,
  telemetry: measureTelemetry,
}
const names = ['calls', ...Object.keys(PARTS)]
const wanted = flags.only?.split(',') ?? names

/** A part that fails says so, and the others go on. */
const tried = async (name: string, size: Size): Promise<Section> => {
  const began = performance.now()
  say(`${name}…`)
  const failed = (error: unknown): Section => ({
    title: name,
    columns: [],
    rows: [],
    notes: [],
    wrong: [error instanceof Error ? error.message : String(error)],
    skipped: [],
  })
  const section = await PARTS[name]?.(size).catch(failed)
  say(`${name}: ${((performance.now() - began) / 1_000).toFixed(0)} s`)
  return section ?? failed(`there is no part ${name}: one of ${names.join(', ')}`)
}

let code = 0
const unknown = wanted.filter((name) => !names.includes(name))
if (unknown.length > 0) {
  say(`there is no part ${unknown.join(', ')}: one of ${names.join(', ')}`)
  code = 64
} else if (!measurable()) {
  say('the bench reads the CPU of processes from /proc, which this system does not have')
  code = 69
} else {
  const load = loadavg()[0] ?? 0
  mkdirSync(join(root, '.sandbox'), { recursive: true })
  const folder = mkdtempSync(join(root, '.sandbox/bench-'))
  const size: Size = {
    quick: flags.quick,
    profile: flags.profile,
    // Many short rounds: what a neighbour of the machine does for a while touches few of them.
    rounds: Math.min(60, Number(flags.rounds ?? (flags.quick ? 1 : 15))),
    windowMs: Math.min(60_000, Number(flags.window ?? (flags.quick ? 2_000 : 1_000))),
    connections: Math.min(256, Number(flags.connections ?? 32)),
    folder,
  }
  try {
    let calls: Report | null = null
    if (wanted.includes('calls'))
      calls = await measureCalls(size).catch((error: unknown) => {
        say(`calls: ${error instanceof Error ? error.message : String(error)}`)
        code = 1
        return null
      })
    const sections: Section[] = []
    for (const name of Object.keys(PARTS))
      if (wanted.includes(name)) sections.push(await tried(name, size))
    const whole = {
      machine: `${cpus()[0]?.model.trim() ?? 'unknown CPU'}, ${availableParallelism()} cores, Node ${process.version}, load average before ${load.toFixed(1)}`,
      calls,
      sections,
    }
    process.stdout.write(page(whole))
    if (flags.json !== undefined) writeFileSync(flags.json, JSON.stringify(whole))
    if (!right(whole)) code = 1
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
// Said outright: what stops a forgotten PostgreSQL at the end would make it 0.
process.exit(code)
