// The other side of policy/threads: one policy in a thread of its own, where an evaluation can be
// ended from outside.
import { parentPort, workerData } from 'node:worker_threads'
import { messageOf } from '../problem.ts'
import { createInstance } from './instance.ts'
import type { Batch, Reply, Start } from './threads.ts'

const port = parentPort
if (port === null) throw new Error('policy/worker runs as a worker thread only')
const { module, data, inputLimit } = workerData as Start
const say = (reply: Reply): void => port.postMessage(reply)

try {
  const instance = await createInstance(module, data, inputLimit)
  const all = async ({ inputs, data: other }: Batch): Promise<void> => {
    try {
      const asked = other === null ? instance : await createInstance(module, other, inputLimit)
      const answers: ReturnType<typeof asked.evaluate>[] = []
      // What a trap leaves behind answers nothing more.
      for (const input of inputs) if (!asked.broken()) answers.push(asked.evaluate(input))
      say({ kind: 'answers', answers, broken: asked.broken() })
    } catch (error) {
      say({ kind: 'refused', why: messageOf(error) })
    }
  }
  port.on('message', (input: string | Batch) => {
    if (typeof input !== 'string') {
      void all(input)
      return
    }
    const started = performance.now()
    const answer = instance.evaluate(input)
    say({ kind: 'answer', answer, ms: performance.now() - started, broken: instance.broken() })
  })
  say({ kind: 'ready' })
} catch (error) {
  say({ kind: 'refused', why: messageOf(error) })
}
