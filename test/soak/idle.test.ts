// Idle connections are there, come back when they were ended, and go when they are told to.
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { startIdle } from './idle.ts'

test('as many as asked for, also after the other side has ended them', async ({
  onTestFinished,
}) => {
  const open = new Set<Socket>()
  let said = 0
  const server = createServer((socket) => {
    open.add(socket)
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => (said += chunk.toString().split('Deputy-User: alice').length - 1))
    socket.on('close', () => open.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const idle = await startIdle(
    `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    20,
    'alice',
  )
  await expect.poll(() => [idle.standing(), open.size, said]).toEqual([20, 20, 2])
  for (const socket of open) socket.destroy()
  await expect.poll(() => [idle.ended(), idle.standing(), open.size]).toEqual([20, 20, 20])
  idle.close()
  await expect.poll(() => open.size).toBe(0)
})
