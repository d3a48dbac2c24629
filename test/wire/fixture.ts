import { Problem } from '../../proxy/problem.ts'
import type { Principal, Provider } from '../../proxy/model.ts'

export const alice: Principal = {
  person: { tenant: 'default', realm: 'corp', id: 'alice' },
  agent: 'triage',
  verified: true,
  claims: null,
  issuedAt: null,
  expiresAt: null,
  run: null,
}

export const provider: Provider = {
  id: 'acme',
  lineage: ['acme'],
  name: 'Acme',
  credential: 'oauth2',
  issuer: null,
  authorize: null,
  token: null,
  userinfo: null,
  revoke: null,
  revokeStyle: 'none',
  clientAuth: 'client_secret_post',
  pkce: true,
  scopeParam: 'scope',
  scopeSeparator: ' ',
  authorizeParams: {},
  tokenParams: {},
  account: null,
  answer: {
    accessToken: ['/access_token'],
    refreshToken: ['/refresh_token'],
    scope: ['/scope'],
    expiresIn: ['/expires_in'],
    scopeSeparator: ' ',
    assumeTtl: null,
    zeroIsNever: false,
    errors: {},
  },
  rotation: 'none',
  lostResponse: 'yes',
  hosts: new Map([['api.acme.example', 'https://api.acme.example']]),
  assets: new Map(),
  present: { header: 'Authorization', scheme: 'Bearer' },
  requiredHeaders: { 'User-Agent': 'deputy', 'Acme-Version': '2026-01-01' },
  strip: {
    headers: ['as-user', 'x-acme-otp', 'from', 'boxapi'],
    query: ['client_id', 'private_token', 'teamid'],
    body: ['token', 'client_secret'],
  },
  rewrite: [],
  operations: [],
  secretSegments: [],
}

/** The code of the Problem that `run` throws; null when it throws none. */
export const codeOf = (run: () => unknown): string | null => {
  try {
    run()
    return null
  } catch (error) {
    if (error instanceof Problem) return error.code
    throw error
  }
}

/** Text that has broken readers before. */
export const NAUGHTY: readonly string[] = [
  '',
  ' ',
  '.',
  '..',
  '...',
  '%',
  '%%',
  '%2',
  '%zz',
  '%00',
  '%2e%2e',
  '%252e%252e',
  '%c0%ae',
  '%e0%80%af',
  '%ed%a0%80',
  '%ff',
  '..;/',
  ';x=1',
  '\\..\\',
  '%5c',
  '//evil.test',
  'http://evil.test',
  '\u0000',
  '\u202ereversed',
  '\u2066',
  '\ufeff',
  'Z\u0351\u036b\u0343',
  'İ',
  'K', // the Kelvin sign, lower case k
  '/',
  '？',
  'null',
  '__proto__',
  'constructor',
  "'; DROP TABLE people; --",
  '${env:HOME}',
  '{{7*7}}',
  '<script>alert(1)</script>',
  '\r\nHost: evil.test',
  '👩‍👩‍👧‍👦',
  '\ud800',
  'a'.repeat(300),
]
