import { expect, test } from 'vitest'
import { createSubscribers } from '../../proxy/store/events.ts'
import { QUIET } from '../support/log.ts'

const hearing = () => {
  const heard: string[] = []
  return { heard, hear: (key: string) => void heard.push(key) }
}

test('whoever listens to a topic hears it, until they stop', () => {
  const { subscribe, tell } = createSubscribers()
  const [a, b, other] = [hearing(), hearing(), hearing()]
  const end = subscribe('t', a.hear)
  subscribe('t', b.hear)
  subscribe('u', other.hear)
  tell('t', '1')
  end()
  end()
  tell('t', '2')
  tell('nobody', '3')
  expect([a.heard, b.heard, other.heard]).toEqual([['1'], ['1', '2'], []])
})

test('where something may have been missed, everybody is told so', () => {
  const { subscribe, tellAll } = createSubscribers()
  const [a, b] = [hearing(), hearing()]
  subscribe('t', a.hear)
  subscribe('u', b.hear)
  tellAll()
  expect([a.heard, b.heard]).toEqual([['*'], ['*']])
})

test('one who fails keeps no other from hearing, and the log says it', () => {
  const logged: string[] = []
  const { subscribe, tell } = createSubscribers({
    ...QUIET,
    error: (_fields, text) => void logged.push(text),
  })
  const b = hearing()
  subscribe('t', () => {
    throw new Error('broken')
  })
  subscribe('t', b.hear)
  tell('t', '1')
  expect(b.heard).toEqual(['1'])
  expect(logged).toEqual(['a change could not be taken in'])
})
