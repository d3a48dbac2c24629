// A provider by its definition, and a call to it.
import type { Provider, Route } from '../../proxy/model.ts'
import { Problem } from '../../proxy/problem.ts'
import { parseProvider } from '../../proxy/providers/parse.ts'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'

export const HOST = 'api.acme.test'

export const providerOf = (more: object): Provider => {
  const parsed = parseProvider(
    {
      id: 'acme',
      authorize: 'https://acme.test/a',
      token: 'https://acme.test/t',
      hosts: [HOST],
      strip: { query: ['key'], headers: ['X-Acme-User'], body: ['client_secret'] },
      ...more,
    },
    'acme.yaml',
  )
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  return parsed.provider
}

export const routeTo = (provider: Provider, method: string, path: string): Route => ({
  connection: { name: 'acme', provider, clientId: 'c', clientSecret: null, scopes: [] },
  host: HOST,
  origin: `https://${HOST}`,
  authority: HOST,
  port: 443,
  asset: false,
  addressing: { kind: 'listener' },
  named: null,
  target: canonicalTarget(method, path),
})

/** `code: message` of the Problem that it throws. */
export const refusalOf = (run: () => unknown): string => {
  try {
    return `passed: ${JSON.stringify(run())}`
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return `${error.code}: ${error.message}`
  }
}
