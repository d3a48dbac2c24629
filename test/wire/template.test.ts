// Values of a call within the text of a question: each stays a value, or nothing is asked.
import { describe, expect, test } from 'vitest'
import {
  filled,
  filledJson,
  filledUrl,
  Lacking,
  namesIn,
  readTemplate,
  Unaskable,
} from '../../proxy/wire/template.ts'

const of =
  (values: Readonly<Record<string, string>>) =>
  (name: string): string | undefined =>
    Object.hasOwn(values, name) ? values[name] : undefined
const fill = (text: string, values: Readonly<Record<string, string>>): string =>
  filled(readTemplate(text), of(values))

describe('a text', () => {
  test('takes values of the call where their names stand', () => {
    const values = {
      id: 'alice@example.com',
      'path.owner': 'acme',
      'path.repo': 'app',
      'body/to/0': 'bob',
    }
    expect(fill('user:{id}', values)).toBe('user:alice@example.com')
    expect(fill('repo:{path.owner}/{path.repo}', values)).toBe('repo:acme/app')
    expect(fill('{body/to/0}', values)).toBe('bob')
    expect(fill('system:prod', values)).toBe('system:prod')
    expect(namesIn({ a: ['{id}', 1, { b: '{path.repo}' }], c: null })).toEqual(['id', 'path.repo'])
  })
  test.each(['{user}', '{path}', '{path.}', '{body}', '{}', '{id:x}', '{constructor}'])(
    'with %s is refused when it is read',
    (text) => expect(() => readTemplate(`a:${text}`)).toThrow('is nothing that a call has'),
  )
  test('with nothing between two values is refused when it is read', () => {
    expect(() => readTemplate('doc:{id}{path.repo}')).toThrow('nothing stands between')
  })
  test('that names what the call lacks is not filled', () => {
    expect(() => fill('repo:{path.repo}', { id: 'alice' })).toThrow(Lacking)
    expect(() => fill('{body/constructor}', {})).toThrow(Lacking)
  })
})

const HOSTILE = [
  'user:bob',
  'acme#member',
  '*',
  'a b',
  'a\tb',
  'a\u00a0b',
  'a\u2028b',
  'a\nb',
  'a\u0000',
  'a\u202eb',
  '\ud800',
  '',
  'x'.repeat(513),
]
describe('a value', () => {
  test.each(HOSTILE)('%j that would change what is asked is refused', (value) => {
    for (const text of ['user:{id}', '{id}', '{id}#member'])
      expect(() => fill(text, { id: value })).toThrow(Unaskable)
  })
  test('may have 512 characters', () => {
    expect(fill('user:{id}', { id: 'x'.repeat(512) })).toHaveLength(517)
  })
  test('is not told in the message', () => {
    expect(() => fill('user:{id}', { id: 'canary:bob' })).toThrow(
      /^\{id\} holds a colon, a hash, an asterisk or a space, which would change what is asked$/,
    )
  })
  test('cannot move the border to the next one', () => {
    const repo = (owner: string, name: string): string =>
      fill('repo:{path.owner}/{path.repo}', { 'path.owner': owner, 'path.repo': name })
    expect(() => repo('acme/app', 'x')).toThrow(Unaskable)
    // Only one reading is left for what the last one holds.
    expect(repo('acme', 'app/x')).toBe('repo:acme/app/x')
    const two = (a: string, b: string): string => fill('d:{id}--{tenant}', { id: a, tenant: b })
    expect(() => two('a-', 'b')).toThrow(Unaskable)
    expect(() => two('a--', 'b')).toThrow(Unaskable)
    expect(two('a', '-b')).toBe('d:a---b')
  })
  test('that names the agent may have one colon where it is the whole text', () => {
    expect(fill('{agent}', { agent: 'agent:triage' })).toBe('agent:triage')
    expect(() => fill('agent:{agent}', { agent: 'agent:triage' })).toThrow(Unaskable)
    for (const agent of ['a:b:c', 'a:*', 'a:b#c', ':b', 'a:', 'a: b'])
      expect(() => fill('{agent}', { agent })).toThrow(Unaskable)
  })
})

describe('a question of one’s own', () => {
  test('has its values percent-encoded, each as a part of the address', () => {
    const url = (id: string): string =>
      filledUrl(
        'https://z.test/v1/{id}/may?what={operation}&at={body/a}',
        of({
          id,
          operation: 'issues.create',
          'body/a': 'x&y=1',
        }),
      )
    expect(url("o'brien*:#?")).toBe(
      'https://z.test/v1/o%27brien%2A%3A%23%3F/may?what=issues.create&at=x%26y%3D1',
    )
    for (const id of ['..', '.', 'a/b', 'a\\b', '', 'a\r\nb'])
      expect(() => url(id)).toThrow(Unaskable)
  })
  test('has a value beside other text only where it cannot be read as more', () => {
    expect(filledUrl('https://z.test/?object=doc:{id}', of({ id: '7' }))).toBe(
      'https://z.test/?object=doc:7',
    )
    expect(() => filledUrl('https://z.test/?object=doc:{id}', of({ id: 'a:b' }))).toThrow(Unaskable)
  })
  test('has them as JSON texts, and keeps everything else', () => {
    const body = { who: '{id}', object: 'doc:{path.id}', n: 1, list: ['{agent}', null, true] }
    expect(filledJson(body, of({ id: '"},{"a:b', 'path.id': '7', agent: 'agent:triage' }))).toEqual(
      { who: '"},{"a:b', object: 'doc:7', n: 1, list: ['agent:triage', null, true] },
    )
    expect(() => filledJson(body, of({ id: 'a', 'path.id': 'x#y', agent: 'b' }))).toThrow(Unaskable)
  })
})
