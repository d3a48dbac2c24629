// OPA's own server as another client of a bundle service: the build that runs WebAssembly, as a bundle of deputy's wants.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../ports.ts'
import { missingProgram, startProgram } from './server.ts'

const PROGRAM =
  process.env['DEPUTY_OPA_WASM'] ?? join(homedir(), '.cache/deputy-ci/opa-1.22.2-wasm/opa')
export const missingOpa = missingProgram(PROGRAM)

type Opa = {
  /** The answer to `deputy/decision`. */
  readonly decide: (input: object) => Promise<unknown>
  /** Of the bundle in use; null: none is. */
  readonly revision: () => Promise<string | null>
  readonly close: () => Promise<void>
}

/** @param pem of the key that signs with ES256 */
export const startOpa = async (url: string, pem: string): Promise<Opa> => {
  const port = await freePort()
  const at = new URL(url)
  const folder = mkdtempSync(join(tmpdir(), 'deputy-opa-'))
  const config = join(folder, 'opa.json')
  writeFileSync(
    config,
    JSON.stringify({
      services: { bundles: { url: at.origin } },
      bundles: {
        deputy: {
          service: 'bundles',
          resource: at.pathname,
          signing: { keyid: 'prod' },
          polling: { min_delay_seconds: 1, max_delay_seconds: 1 },
        },
      },
      keys: { prod: { algorithm: 'ES256', key: pem } },
    }),
  )
  const origin = `http://127.0.0.1:${port}`
  const stop = await startProgram({
    command: PROGRAM,
    args: ['run', '--server', '--addr', `127.0.0.1:${port}`, '--config-file', config],
    env: {},
    ready: `${origin}/health`,
    withinMs: 30_000,
  })
  const result = async (path: string, body?: object): Promise<unknown> => {
    const how = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }
    const answer = await fetch(`${origin}/v1/data/${path}`, how)
    return ((await answer.json()) as { readonly result?: unknown }).result
  }
  return {
    decide: (input) => result('deputy/decision', { input }),
    revision: async () =>
      ((await result('system/bundles/deputy/manifest/revision')) as string | undefined) ?? null,
    close: async () => {
      await stop()
      rmSync(folder, { recursive: true })
    },
  }
}
