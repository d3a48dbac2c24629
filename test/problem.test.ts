import { describe, expect, test } from 'vitest'
import {
  CATALOGUE,
  CallerLeft,
  copyOf,
  Problem,
  problemAnswer,
  sentence,
  toProblem,
  type ProblemCode,
} from '../proxy/problem.ts'

const codes = Object.keys(CATALOGUE) as ProblemCode[]
const BASE = 'https://deputy.example'
const answer = (problem: Problem, reader?: Parameters<typeof problemAnswer>[3]) => {
  const { status, headers, body } = problemAnswer(problem, 'ex-1', BASE, reader)
  return { status, headers, body, json: (): Record<string, unknown> => JSON.parse(body) }
}

describe('the catalogue', () => {
  test.each(codes)('%s has a status, a title, what to do, and a word of RFC 9209', (code) => {
    const { status, title, proxy, ...rest } = CATALOGUE[code]
    expect(status).toBeGreaterThanOrEqual(400)
    expect(status).toBeLessThan(600)
    expect(title).toMatch(/^(?:[A-Z]|deputy ).*[^.]$/)
    expect(proxy).toMatch(/^[a-z_]+$/)
    expect(Object.values(rest).every((value) => value === null || value !== '')).toBe(true)
    expect(code).toMatch(/^[a-z][a-z_]+$/)
  })
})

describe('an answer', () => {
  test.each(codes)('%s: RFC 9457 with its code, and the headers that programs read', (code) => {
    const { status, headers, body, json } = answer(new Problem(code, 'the thing is wrong'))
    expect(status).toBe(CATALOGUE[code].status)
    expect(json()).toMatchObject({
      type: `${BASE}/problems/${code}`,
      title: CATALOGUE[code].title,
      status,
      detail: 'The thing is wrong.',
      instance: 'ex-1',
      code,
    })
    expect(headers).toMatchObject({
      'content-type': 'application/problem+json',
      'content-length': String(Buffer.byteLength(body)),
      'cache-control': 'no-store',
      'proxy-status': `deputy; error=${CATALOGUE[code].proxy}; details="${code}"`,
      'deputy-answer': code,
    })
    expect('www-authenticate' in headers).toBe(status === 401)
  })

  test('says how long to wait, in whole seconds, where waiting helps', () => {
    const { headers, json } = answer(
      new Problem('rate_limited', 'x', { extra: { retry_after: 2.1 } }),
    )
    expect(headers['retry-after']).toBe('3')
    expect(json()['retry_after']).toBe(2.1)
    expect('retry-after' in answer(new Problem('request_invalid', 'x')).headers).toBe(false)
  })

  test('says so of a 403 only to whoever asked to wait, and never in the body', () => {
    const consent = new Problem('consent_required', 'x')
    const waits = answer(consent, { waits: true })
    expect(waits.headers['retry-after']).toMatch(/^\d+$/)
    expect('retry_after' in waits.json()).toBe(false)
    expect('retry-after' in answer(consent).headers).toBe(false)
  })

  test('has what belongs to it, and its own headers', () => {
    const problem = new Problem('consent_required', 'x', {
      extra: { url: 'http://u/', scopes: ['a'] },
      headers: { allow: 'GET' },
    })
    const { headers, json } = answer(problem)
    expect(json()).toMatchObject({ url: 'http://u/', scopes: ['a'] })
    expect(headers['allow']).toBe('GET')
  })

  test('is a line of text to git, which shows its user nothing else', () => {
    const { headers, body } = answer(new Problem('policy_denied', 'not täglich'), {
      agent: 'git/2.5',
    })
    expect(body).toBe('deputy: not täglich\n')
    expect(headers['content-type']).toBe('text/plain; charset=utf-8')
    expect(headers['content-length']).toBe(String(Buffer.byteLength(body)))
    expect(answer(new Problem('internal', 'x'), { agent: 'digit/1' }).body).toMatch(/^\{/)
  })

  test('has the shape of a vendor where one is given', () => {
    const shape = ({ code, detail }: { code: string; detail: string }) => ({ error: code, detail })
    const { headers, json } = answer(new Problem('policy_denied', 'no'), { shape })
    expect(json()).toEqual({ error: 'policy_denied', detail: 'No.'.replace('No', 'no') })
    expect(headers['content-type']).toBe('application/json')
  })
})

test.each([
  ['the call is late', 'The call is late.'],
  ['no connection serves it', 'No connection serves it.'],
  ['there is no tool x', 'There is no tool x.'],
  ['policy says no!', 'Policy says no!'],
  ['limits.calls allows 3', 'limits.calls allows 3.'],
  ['theatre is closed', 'theatre is closed.'],
  ['open http://localhost:1/c', 'open http://localhost:1/c'],
  ['is it?', 'is it?'],
  ['and so on…', 'and so on…'],
])('%s is shown to a person as: %s', (text, shown) => {
  expect(sentence(text)).toBe(shown)
})

describe('what is thrown', () => {
  test('is a problem already, or one that says nothing of its cause', () => {
    const own = new Problem('policy_denied', 'no')
    expect(toProblem(own)).toBe(own)
    for (const thrown of [new Error('password is x'), 'password is x', undefined]) {
      const problem = toProblem(thrown)
      expect([problem.code, problem.cause]).toEqual(['internal', thrown])
      expect(answer(problem).body).not.toContain('password')
    }
  })
  test('has a cause only where there is one', () => {
    expect('cause' in new Problem('internal', 'x')).toBe(false)
    expect(new Problem('internal', 'x', { cause: null }).cause).toBeNull()
    expect(new CallerLeft('gone').cause).toBe('gone')
  })
  test('is copied for another call with all that belongs to it', () => {
    const of = new Problem('rate_limited', 'x', {
      extra: { retry_after: 1 },
      headers: { allow: 'GET' },
      cause: 'why',
    })
    const copy = copyOf(of)
    expect(copy).not.toBe(of)
    expect(copy).toMatchObject({ code: 'rate_limited', message: 'x', cause: 'why' })
    expect([copy.extra, copy.headers]).toEqual([of.extra, of.headers])
    expect('cause' in copyOf(new Problem('internal', 'x'))).toBe(false)
  })
})
