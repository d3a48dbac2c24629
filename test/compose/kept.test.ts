// What one configuration hands on to the next, and what it does not.
import { expect, test } from 'vitest'
import { createKept } from '../../proxy/compose/kept.ts'
import { secret } from '../../proxy/secret.ts'

const world = () => {
  const ended: string[] = []
  const kept = createKept()
  const part = (name: string) => () => ({
    value: { name },
    close: () => void ended.push(`close ${name}`),
    retire: () => void ended.push(`retire ${name}`),
  })
  return { kept, ended, part }
}

test('a part of the same settings goes on, one of others retires when its successor is in force', async () => {
  const { kept, ended, part } = world()
  const first = kept.next()
  const a = first.keep('a', [{ ms: 1 }], part('a1'))
  const b = first.keep('b', ['x'], part('b1'))
  await first.commit()()
  const second = kept.next()
  expect(second.keep('a', [{ ms: 1 }], part('a2'))).toBe(a)
  expect(second.keep('b', ['y'], part('b2'))).not.toBe(b)
  const retire = second.commit()
  expect(ended).toEqual([])
  await retire()
  expect(ended).toEqual(['retire b1'])
  await kept.close()
  expect(ended.toSorted()).toEqual(['close a1', 'close b1', 'close b2', 'retire b1'])
})

test('what was made for a configuration that is refused is closed, and what is in force is not', async () => {
  const { kept, ended, part } = world()
  const first = kept.next()
  first.keep('a', [], part('a1'))
  await first.commit()()
  const second = kept.next()
  second.keep('a', [], part('a2'))
  second.keep('b', [], part('b1'))
  await second.drop()
  expect(ended).toEqual(['close b1'])
})

test('a secret that was read again is another one, whatever it prints', () => {
  const { kept, part } = world()
  const first = kept.next()
  const one = secret('0123456789abcdef')
  const a = first.keep('a', { key: one }, part('a1'))
  first.commit()
  const second = kept.next()
  expect(second.keep('a', { key: one }, part('a2'))).toBe(a)
  expect(second.keep('a', { key: secret('0123456789abcdeg') }, part('a3'))).not.toBe(a)
})
