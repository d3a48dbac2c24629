// Tests wait for facts. How long they may is said here alone: long enough for a machine that has much else to do.
import { availableParallelism } from 'node:os'
import { configDefaults, defineConfig } from 'vitest/config'
import { failedTests } from './test/support/failed.ts'
import { slowestFiles } from './test/support/slowest.ts'

// `npm run test:servers` runs what costs minutes: whole authorization servers, and deputies that are killed;
// `npm run test:cluster` the chart, by Helm and a Kubernetes API; `npm run test:net` what needs root: pods as
// network namespaces; `npm run test:image` the image, built and run.
const APART = ['servers', 'cluster', 'netns', 'image']
export default defineConfig(({ mode }) => ({
  test: {
    exclude: [
      ...configDefaults.exclude,
      ...APART.filter((name) => name !== mode).map((name) => `test/${name}/**`),
    ],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
    // What takes long here waits: for a token to end, for a program to start. Vitest leaves a core idle.
    maxWorkers: availableParallelism() + 1,
    reporters: ['default', slowestFiles(), failedTests(process.env['DEPUTY_FAILED'])],
  },
}))
