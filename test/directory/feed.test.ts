import { expect, test } from 'vitest'
import { createFeed, createFeeds } from '../../proxy/directory/feed.ts'
import { QUIET } from '../support/log.ts'

test('a step that fails is shown until it works, is tried again, and waits for no turn when it is woken', async () => {
  let at = 0
  const feeds = createFeeds({ mono: () => at })
  const told: string[] = []
  let broken = true
  let steps = 0
  const feed = createFeed({
    kind: 'stream',
    name: 'idp.test',
    step: async () => {
      steps += 1
      if (broken) throw new Error('the house burns')
    },
    every: 600_000,
    feeds,
    log: { ...QUIET, error: (_, text) => void told.push(text), info: (_, text) => told.push(text) },
  })
  expect([feeds.samples(), feeds.detail()]).toEqual([[], ''])
  feed.begin()
  await expect.poll(() => steps).toBeGreaterThan(1)
  expect(feeds.samples()).toEqual([[{ feed: 'stream' }, 1]])
  expect(feeds.detail()).toBe('stream of idp.test has not worked yet, fails: the house burns')
  broken = false
  feed.wake()
  await expect.poll(() => feeds.samples()).toEqual([[{ feed: 'stream' }, 0]])
  expect(told).toEqual(['a feed fails: the house burns', 'a feed works again'])
  at = 2_000
  expect(feeds.detail()).toBe('stream of idp.test worked 2 s ago')
  const before = steps
  feed.wake()
  await expect.poll(() => steps).toBe(before + 1)
  await feed.close()
  expect(feeds.samples()).toEqual([])
})
