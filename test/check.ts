// `npm run check`: types, lint, format, generated files, floors. Prints what failed; exit 1 when anything did.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { configJsonSchema } from '../proxy/config/words.ts'
import { providerJsonSchema } from '../proxy/providers/parse.ts'
import { tablesJsonSchema } from '../proxy/policy/tables.ts'
import { generatedChart } from './chart.ts'
import { generatedDocs } from './docs.ts'

const write = process.argv.includes('--write')
const tool = (name: string): string => `node_modules/.bin/${name}`
const steps: readonly (readonly [string, string, readonly string[]])[] = [
  ['types', tool('tsc'), ['-p', 'tsconfig.json']],
  ['lint', tool('oxlint'), ['--type-aware', '--deny-warnings', 'proxy', 'test', 'bin']],
  ['format', tool('prettier'), [write ? '--write' : '--check', '--log-level', 'warn', '.']],
  [
    'floors',
    process.execPath,
    ['node_modules/vitest/vitest.mjs', 'run', 'test/architecture.test.ts'],
  ],
]
const failed: string[] = []
for (const [name, command, args] of steps) {
  const { status } = spawnSync(command, args, { stdio: 'inherit' })
  process.stdout.write(`${name}: ${status === 0 ? 'fine' : 'FAILED'}\n`)
  if (status !== 0) failed.push(name)
}
const { writeFileSync } = await import('node:fs')
for (const [file, make] of [
  ['proxy/config/config.schema.json', configJsonSchema],
  ['proxy/config/provider.schema.json', providerJsonSchema],
  ['policies/schema/tables.json', tablesJsonSchema],
] as const) {
  const fresh = `${JSON.stringify(make(), null, 2)}\n`
  if (write) writeFileSync(file, fresh)
  const same = readFileSync(file, 'utf8') === fresh
  process.stdout.write(`${file}: ${same ? 'fine' : 'STALE: npm run check -- --write'}\n`)
  if (!same) failed.push(file)
}
const stale = generatedDocs(write)
process.stdout.write(
  `docs: ${stale.length === 0 ? 'fine' : `STALE: ${stale.join(', ')}: npm run check -- --write`}\n`,
)
failed.push(...stale)
const staleChart = generatedChart(write)
process.stdout.write(
  `chart: ${staleChart.length === 0 ? 'fine' : `STALE: ${staleChart.join(', ')}: npm run check -- --write`}\n`,
)
failed.push(...staleChart)
process.exitCode = failed.length === 0 ? 0 : 1
