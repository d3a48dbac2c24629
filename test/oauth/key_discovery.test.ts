// Where an issuer says that its keys are: on a way and in a document that nobody else could have written.
import { describe, expect, test } from 'vitest'
import { createIssuerKeys } from '../../proxy/oauth/issuer_keys.ts'
import { Problem } from '../../proxy/problem.ts'

describe('where an issuer’s keys are', () => {
  /** @param says `jwks_uri` of the discovery document; @returns what was asked for, until it failed or not */
  const asked = async (
    of: string,
    says: unknown,
    self: string = of,
  ): Promise<readonly string[]> => {
    const urls: string[] = []
    const keys = createIssuerKeys(
      { issuer: of, jwksUri: null, jwksFile: null },
      {
        grace: 1_000,
        fetch: async (url) => {
          urls.push(new URL(url instanceof Request ? url.url : url).href)
          return Response.json(urls.length === 1 ? { issuer: self, jwks_uri: says } : { keys: [] })
        },
        clock: { now: () => 0, mono: () => 0 },
        log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
      },
    )
    await keys.serving().then(
      () => urls.push('served'),
      (error: unknown) => urls.push(error instanceof Problem ? error.code : 'something else'),
    )
    keys.close()
    return urls
  }
  const at = '/.well-known/openid-configuration'
  test('nobody on the way may hand others in: keys of an issuer on https come by https', async () => {
    const [safe, plain] = ['https://idp.test', 'http://idp.test']
    expect(await asked(safe, `${safe}/k`)).toEqual([`${safe}${at}`, `${safe}/k`, 'served'])
    expect(await asked(safe, `${plain}/k`)).toEqual([`${safe}${at}`, 'issuer_unavailable'])
    expect(await asked(plain, `${plain}/k`)).toEqual([`${plain}${at}`, `${plain}/k`, 'served'])
  })
  test('and the document that says so is that issuer’s own', async () => {
    const [one, other] = ['https://idp.test', 'https://evil.test']
    expect(await asked(one, `${one}/k`, other)).toEqual([`${one}${at}`, 'issuer_unavailable'])
    expect(await asked(one, 7)).toEqual([`${one}${at}`, 'issuer_unavailable'])
  })
})
