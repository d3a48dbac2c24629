import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { outOfDate, readPair } from '../../proxy/net/certificate.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'

test(`a pair is read, and its dates are judged${opensslMissing()}`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-pair-'))
  try {
    const { cert, key, pem } = makeCertificate(folder)
    expect(await readPair('x', { cert, key })).toMatchObject({ pair: { cert: pem } })
    expect(await readPair('x', { cert: key, key: cert })).toEqual({
      problems: [
        expect.stringContaining(`x.cert: ${key} is no certificate`),
        expect.stringContaining(`x.key: ${cert} is no private key`),
      ],
    })
    expect(outOfDate(pem, Date.now())).toBe(null)
    expect(outOfDate(pem, Date.now() + 3 * 86_400_000)).toContain('expired on')
    expect(outOfDate(pem, Date.now() - 86_400_000)).toContain('is not valid before')
  } finally {
    rmSync(folder, { recursive: true })
  }
})
