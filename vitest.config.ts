// Tests wait for facts. How long they may is said here alone: long enough for a machine that has much else to do.
import { configDefaults, defineConfig } from 'vitest/config'

// What costs minutes has a mode of its own: `npm run test:servers` (whole authorization servers), `npm run test:image`
// (the image, built and run).
const SLOW = { servers: 'test/servers/**', image: 'test/image/**' }
export default defineConfig(({ mode }) => ({
  test: {
    exclude: [
      ...configDefaults.exclude,
      ...Object.entries(SLOW).flatMap(([name, files]) => (name === mode ? [] : [files])),
    ],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
  },
}))
