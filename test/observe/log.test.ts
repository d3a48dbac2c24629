import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { createLog, visible } from '../../proxy/observe/log.ts'
import { Problem } from '../../proxy/problem.ts'
import { secret } from '../../proxy/secret.ts'

const TOKEN = 'gho_SEKRET0123456789'

const logged = (fields: object, msg = 'hello') => {
  const out: string[] = []
  const destination = { write: (line: string) => void out.push(line) }
  createLog({ level: 'debug', destination, name: 'deputy', version: '1.2.3' }).info(fields, msg)
  expect(out).toHaveLength(1)
  return out[0] ?? ''
}

describe('a line', () => {
  test('carries level as a word, an ISO time, the service and its version', () => {
    const line = JSON.parse(logged({ provider: 'github' })) as object
    expect(line).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      service: 'deputy',
      version: '1.2.3',
      provider: 'github',
      msg: 'hello',
    })
  })

  test.each([
    '\n',
    '\r\n',
    '\u0000',
    '\u001b[2J',
    '\u0085',
    '\u2028',
    '\u2029',
    '\u202e',
    '\u2066',
    '\u200b',
    '\u{e0041}',
  ])(
    '%j in a name, a value or the message stays inside its string and is not printed raw',
    (nasty) => {
      const line = logged(
        { [`k${nasty}`]: `v${nasty}{"level":"fatal"}`, err: new Error(`e${nasty}`) },
        `m${nasty}`,
      )
      expect(line.slice(0, -1)).not.toMatch(/[\p{Cc}\p{Cf}\u2028\u2029]/u)
      expect(line.endsWith('\n')).toBe(true)
      expect(JSON.parse(line)).toMatchObject({
        [`k${nasty}`]: `v${nasty}{"level":"fatal"}`,
        msg: `m${nasty}`,
        level: 'info',
      })
    },
  )

  test('visible() makes foreign text printable and leaves the rest', () => {
    expect(visible('é 日本 a\tb\u202ec\u{e0001}')).toBe('é 日本 a\\u0009b\\u202ec\\udb40\\udc01')
  })

  test('equal warnings and errors are one line until the minute or the end; other levels are not counted', () => {
    const out: string[] = []
    const log = createLog({
      level: 'info',
      destination: { write: (line) => void out.push(line) },
      name: 'd',
      version: '1',
    })
    for (let n = 0; n < 5; n += 1) {
      log.error({ n, err: new Error('away') }, 'cannot be reached')
      log.warn({ n, token: TOKEN }, 'refused')
      log.info({ n }, 'read again')
    }
    log.flush()
    const lines = out.map((line) => JSON.parse(line) as { level: string; repeated?: number })
    expect(lines.filter(({ level }) => level === 'info')).toHaveLength(5)
    expect(lines.filter(({ level }) => level !== 'info')).toMatchObject([
      { level: 'error', n: 0, err: { message: 'away' } },
      { level: 'warn', n: 0 },
      { level: 'error', n: 4, err: { message: 'away' }, repeated: 4 },
      { level: 'warn', n: 4, repeated: 4 },
    ])
    expect(out.join()).not.toContain(TOKEN)
  })

  test('the level can change while running', () => {
    const out: string[] = []
    const log = createLog({
      level: 'error',
      destination: { write: (line) => void out.push(line) },
      name: 'd',
      version: '1',
    })
    log.warn({}, 'a')
    log.setLevel('debug')
    log.debug({}, 'b')
    expect(out.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual(['b'])
  })
})

describe('a token stays out', () => {
  const response = { status: 400, headers: { authorization: TOKEN }, body: TOKEN }
  const cases: readonly [string, object][] = [
    ['as a Secret', { a: secret(TOKEN), deep: { list: [secret(TOKEN)] } }],
    ['as the fields themselves', secret(TOKEN)],
    [
      'under a name that carries credentials',
      { authorization: TOKEN, token: TOKEN, password: TOKEN, cookie: TOKEN },
    ],
    [
      'in headers',
      {
        headers: {
          authorization: TOKEN,
          cookie: TOKEN,
          'set-cookie': [TOKEN],
          'proxy-authorization': TOKEN,
          'x-api-key': TOKEN,
        },
      },
    ],
    [
      'in a request or an answer',
      { req: { headers: { authorization: TOKEN } }, res: { headers: { 'set-cookie': TOKEN } } },
    ],
    [
      'in the body of a token answer',
      { body: { access_token: TOKEN, refresh_token: TOKEN, id_token: TOKEN } },
    ],
    [
      'in members of an error',
      { err: Object.assign(new Error('failed'), { response, body: TOKEN, headers: { a: TOKEN } }) },
    ],
    [
      'in the causes of an error',
      {
        err: new Error('failed', {
          cause: Object.assign(new Error('c', { cause: { body: TOKEN } }), { response }),
        }),
      },
    ],
    [
      'in an error of another name, deep down',
      { deep: { list: [Object.assign(new Error('x'), { response })] } },
    ],
    [
      'in an aggregate',
      { err: new AggregateError([Object.assign(new Error('x'), { response })], 'all') },
    ],
    [
      'in the cause of a problem',
      { err: new Problem('internal', 'x', { cause: { token: TOKEN }, headers: { a: TOKEN } }) },
    ],
    ['in what an error says of a header', { err: new Error(`invalid header: Bearer ${TOKEN}`) }],
    [
      'in what an error says of a URL',
      { err: new Error(`GET https://a.example/cb?code=${TOKEN}&state=${TOKEN} failed`) },
    ],
    ['in bytes', { a: Buffer.from(TOKEN), b: new Uint8Array(Buffer.from(TOKEN)) }],
    [
      'in objects of the platform',
      {
        a: new Map([['t', TOKEN]]),
        b: new Headers({ a: TOKEN }),
        c: new Request('http://a', { headers: { a: TOKEN } }),
      },
    ],
    ['in an error as the fields', Object.assign(new Error('x'), { response })],
  ]
  test.each(cases)('%s', (_, fields) => {
    const line = logged(fields)
    expect(line).not.toContain(TOKEN)
    expect(line).not.toContain(Buffer.from(TOKEN).toString('base64'))
    expect(line).not.toContain([...Buffer.from(TOKEN)].slice(0, 6).join(','))
  })
})

test('an error keeps what helps: type, code, message, stack, and the same of its causes', () => {
  const cause = Object.assign(new Error('connect failed'), { code: 'ECONNREFUSED' })
  const line = JSON.parse(
    logged({ err: new Problem('upstream_unreachable', 'x', { cause }) }),
  ) as object
  expect(line).toMatchObject({
    err: {
      type: 'Problem',
      code: 'upstream_unreachable',
      message: 'x',
      stack: expect.stringContaining('log.test.ts'),
      cause: { type: 'Error', code: 'ECONNREFUSED', message: 'connect failed' },
    },
  })
})

test('circles and depth end, and break nothing', () => {
  const circle: Record<string, unknown> = {}
  circle['self'] = circle
  const error = new Error('x')
  error.cause = error
  expect(logged({ circle, err: error })).toContain('[deeper]')
})

test('what was logged before process.exit or a crash is on stderr, and a closed stderr ends nothing', () => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-log-'))
  try {
    const file = join(folder, 'program.ts')
    const source = fileURLToPath(new URL('../../proxy/observe/log.ts', import.meta.url))
    writeFileSync(
      file,
      `import { createLog } from ${JSON.stringify(source)}
const log = createLog({ level: 'info', destination: 2, name: 'deputy', version: '1' })
for (let i = 0; i < 500; i++) log.info({ i }, 'line')
for (let i = 0; i < 500; i++) log.error({ i }, 'broken')
if (process.argv[2] === 'crash') throw new Error('a fault that nobody caught')
if (process.argv[2] === 'wait') await new Promise((resolve) => setTimeout(resolve, 200))
process.exit(7)`,
    )
    const { stderr, status } = spawnSync(process.execPath, [file], { encoding: 'utf8' })
    expect(status).toBe(7)
    const lines = stderr.trim().split('\n')
    expect(lines).toHaveLength(502)
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ msg: 'broken', i: 499, repeated: 499 })
    const crashed = spawnSync(process.execPath, [file, 'crash'], { encoding: 'utf8' })
    expect(crashed.status).toBe(1)
    const told = crashed.stderr.split('\n').filter((line) => line.startsWith('{'))
    expect(told).toHaveLength(502)
    for (const to of ['2>/dev/full', '2>&-']) {
      const closed = spawnSync('bash', ['-c', `exec "$0" "$1" wait ${to}`, process.execPath, file])
      expect(closed.status, to).toBe(7)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})
