// Tests wait for facts. How long they may is said here alone: long enough for a machine that has much else to do.
import { configDefaults, defineConfig } from 'vitest/config'

// `npm run test:servers` runs what costs minutes: whole authorization servers, and deputies that are killed.
// `npm run test:net` runs what needs root: pods as network namespaces.
// `npm run test:cluster` runs the chart, by Helm and a Kubernetes API.
export default defineConfig(({ mode }) => ({
  test: {
    exclude: [
      ...configDefaults.exclude,
      ...(mode === 'servers' ? [] : ['test/servers/**']),
      ...(mode === 'net' ? [] : ['test/netns/**']),
      ...(mode === 'cluster' ? [] : ['test/cluster/**']),
    ],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
  },
}))
