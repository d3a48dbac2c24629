import { expect, test } from 'vitest'
import { hostname, ownNames } from '../../proxy/net/host.ts'

test('a Host is a name or an address, with a port or without', () => {
  for (const [host, name] of [
    ['Localhost:80', 'localhost'],
    ['[::1]:80', '[::1]'],
    ['127.0.0.1', '127.0.0.1'],
    ['a b', null],
    ['a@b', null],
    ['a:80:80', null],
    ['', null],
  ] as const)
    expect(hostname(host), host).toBe(name)
})

test('own are the loopback names, the address that is listened on, and what is listed', () => {
  const own = ownNames('FD00::1', ['Deputy.Agents.SVC'])
  expect([...own].sort()).toEqual(
    ['127.0.0.1', '[::1]', '[fd00::1]', 'deputy.agents.svc', 'localhost'].sort(),
  )
})
