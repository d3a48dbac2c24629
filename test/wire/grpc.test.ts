import { describe, expect, test } from 'vitest'
import { Problem, problemAnswer } from '../../proxy/problem.ts'
import {
  endedBy,
  grpcHeaders,
  isGrpc,
  refusedIn,
  statusName,
  takes,
} from '../../proxy/wire/grpc.ts'

describe('its media type', () => {
  test.each([
    ['application/grpc', true],
    ['Application/gRPC', true],
    ['application/grpc+proto', true],
    ['application/grpc+proto; charset=utf-8', true],
    ['application/grpc ;a=b', true],
    ['application/grpc-web', false],
    ['application/grpc-web+proto', false],
    ['application/grpcx', false],
    ['text/application/grpc', false],
    [undefined, false],
  ])('%s: %s', (type, is) => expect(isGrpc(type)).toBe(is))

  test('an opaque operation takes its encodings, and of any other type that type alone', () => {
    expect(takes('application/grpc', 'application/grpc+json')).toBe(true)
    expect(takes('application/grpc', 'application/json')).toBe(false)
    expect(takes('application/grpc', null)).toBe(false)
    expect(takes('application/x-git', 'application/x-git')).toBe(true)
    expect(takes('application/x-git', 'application/x-git+more')).toBe(false)
  })
})

describe('a refusal', () => {
  const told = (problem: Problem, type = 'application/grpc') =>
    refusedIn(type, problemAnswer(problem, 'x', 'https://deputy.example'), problem)

  test.each([
    ['consent_required', 7],
    ['unauthenticated', 16],
    ['rate_limited', 8],
    ['upstream_unreachable', 14],
    ['upstream_timeout', 4],
    ['method_not_allowed', 12],
    ['host_refused', 2],
    ['internal', 13],
  ] as const)('%s: %i', (code, status) => {
    const answer = told(new Problem(code, 'no'))
    expect([answer.status, answer.body]).toEqual([200, ''])
    expect(answer.headers).toMatchObject({
      'content-type': 'application/grpc',
      'content-length': '0',
      'grpc-status': String(status),
      'grpc-message': 'no.',
      'deputy-answer': code,
    })
    expect(answer.headers).not.toHaveProperty('www-authenticate')
  })

  test('its message holds the link, and nothing that a header could not', () => {
    const extra = { url: 'https://deputy.example/c/1' }
    const { headers } = told(new Problem('consent_required', 'für 100 %\r\nx: y', { extra }))
    expect(headers['grpc-message']).toBe('f%C3%BCr 100 %25%0D%0Ax: y. https://deputy.example/c/1')
    const twice = new Problem('consent_required', 'open https://deputy.example/c/1', { extra })
    expect(told(twice).headers['grpc-message']).toBe('open https://deputy.example/c/1')
  })

  test('to all others it is what it was', () => {
    const problem = new Problem('policy_denied', 'no')
    const usual = problemAnswer(problem, 'x', 'https://deputy.example')
    expect(refusedIn('application/grpc-web', usual, problem)).toBe(usual)
    expect(refusedIn(undefined, usual, problem)).toBe(usual)
  })
})

test('the end of a stream that had begun says the same in its trailers', () => {
  const extra = { url: 'https://deputy.example/c/1' }
  expect(endedBy(new Problem('consent_required', 'the grant was revoked', { extra }))).toEqual([
    ['grpc-status', '7'],
    ['grpc-message', 'The grant was revoked. https://deputy.example/c/1'],
    ['deputy-answer', 'consent_required'],
  ])
})

test('a call says what its hop and the search for the token need', () => {
  const came = ['host', 'a', 'grpc-accept-encoding', 'gzip', 'grpc-timeout', '1S']
  expect(grpcHeaders(came, true)).toEqual([
    'host',
    'a',
    'grpc-timeout',
    '1S',
    'te',
    'trailers',
    'grpc-accept-encoding',
    'identity',
  ])
  expect(grpcHeaders(came, false)).toEqual([...came, 'te', 'trailers'])
})

test('a status without a name is unknown', () => {
  expect([statusName(403), statusName(418)]).toEqual(['PERMISSION_DENIED', 'UNKNOWN'])
})
