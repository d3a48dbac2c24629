import { expect, test } from 'vitest'
import { join } from 'node:path'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { compileProviders, parseProvider } from '../../proxy/providers/parse.ts'
import type { Json } from '../../proxy/model.ts'
import { Problem, problemAnswer } from '../../proxy/problem.ts'
import { inShape } from '../../proxy/wire/error_shape.ts'

const url = 'http://localhost:7412/connect/x'
const problem = new Problem('consent_required', `To go on, connect your account: ${url}`, {
  extra: { url, scopes: ['a'] },
})
const answer = (errors: Json) =>
  problemAnswer(problem, 'id1', 'http://localhost:7412', {
    shape: (document) => inShape(errors, document),
  })

test('the vendor reads its own members, and ours stand beside them', () => {
  const { body, headers, status } = answer({
    error: { code: '{status}', message: '{detail}', status: '{grpc}' },
  })
  expect(status).toBe(403)
  expect(headers).toMatchObject({
    'content-type': 'application/json',
    'deputy-answer': 'consent_required',
  })
  expect(JSON.parse(body)).toMatchObject({
    error: { code: 403, message: problem.message, status: 'PERMISSION_DENIED' },
    code: 'consent_required',
    detail: problem.message,
    instance: 'id1',
    url,
    scopes: ['a'],
  })
})

test('in a list ours stand in the first element; where both have a name, it is the vendor’s', () => {
  const list = JSON.parse(answer([{ message: '{detail}', errorCode: '{CODE}' }]).body)
  expect(list).toHaveLength(1)
  expect(list[0]).toMatchObject({ message: problem.message, errorCode: 'CONSENT_REQUIRED', url })
  const own = JSON.parse(answer({ status: 'error', message: '{code}: {detail}' }).body)
  expect(own).toMatchObject({ status: 'error', message: `consent_required: ${problem.message}` })
})

test('what is no text in a shape stays as it is', () => {
  const shape = {
    message: '{detail}',
    ok: false,
    retries: 0,
    data: null,
    list: [1, null, '{code}'],
  }
  expect(JSON.parse(answer(shape).body)).toMatchObject({
    ok: false,
    retries: 0,
    data: null,
    list: [1, null, 'consent_required'],
  })
})

test('words in what is put in are not words again', () => {
  const odd = new Problem('policy_denied', 'no {code} here')
  const { body } = problemAnswer(odd, 'i', 'http://x', {
    shape: (document) => inShape({ message: '{detail}' }, document),
  })
  expect(JSON.parse(body)).toMatchObject({ message: 'No {code} here.' })
})

test('every shape that ships shows the sentence with its link, and a wrong one is refused with what it may hold', () => {
  const { providers } = compileProviders(
    readProviderFiles(join(import.meta.dirname, '../../providers')),
  )
  for (const [id, { errors }] of providers) {
    expect(errors, id).not.toBeNull()
    expect(answer(errors ?? null).body, id).toContain(url)
  }
  const wrong = (errors: unknown): string => {
    const parsed = parseProvider(
      {
        id: 'acme',
        authorize: 'https://a.example/a',
        token: 'https://a.example/t',
        hosts: [],
        errors,
      },
      'acme.yaml',
    )
    return 'problems' in parsed ? parsed.problems.join('\n') : ''
  }
  expect(wrong({ message: 'no' })).toContain('must have a text with {detail}')
  expect(wrong({ message: '{detail} {token}' })).toContain('no other {word}')
  expect(wrong('{detail}')).toContain('must be the JSON that the vendor answers an error with')
  expect(wrong({ message: '{detail}' })).toBe('')
})
