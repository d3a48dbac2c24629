import { expect, test } from 'vitest'
import { controlSocket, isLoopback, plainHttp } from '../../proxy/config/address.ts'

test.each([
  ['localhost', true],
  ['127.0.0.1', true],
  ['127.255.1.2', true],
  ['::1', true],
  ['127.0.0.1.evil.test', false],
  ['localhost.evil.test', false],
  ['127.1', false],
  ['128.0.0.1', false],
  ['0.0.0.0', false],
  ['::', false],
  ['10.0.0.1', false],
  ['', false],
])('%s is this machine: %s', (host, own) => {
  expect(isLoopback(host)).toBe(own)
})

test.each([
  ['http://10.0.0.1/x', true],
  ['http://idp.example', true],
  ['http://[::2]:80/', true],
  ['http://127.0.0.1.evil.test/', true],
  ['https://idp.example', false],
  ['http://localhost:7412', false],
  ['http://127.0.0.1', false],
  ['http://[::1]:9/', false],
])('%s is plain http to another machine: %s', (url, plain) => {
  expect(plainHttp(url)).toBe(plain)
})

test.each([
  ['sqlite:deputy.db', '/etc/deputy/deputy.sock'],
  ['sqlite:/var/lib/deputy/vault.db', '/var/lib/deputy/deputy.sock'],
  ['sqlite:data/vault.db', '/etc/deputy/data/deputy.sock'],
  ['postgres://u:p@db/deputy', '/etc/deputy/deputy.sock'],
])('commands reach the deputy of %s at %s', (store, socket) => {
  const at = (path: string): string => (path.startsWith('/') ? path : `/etc/deputy/${path}`)
  expect(controlSocket(store, at)).toBe(socket)
})
