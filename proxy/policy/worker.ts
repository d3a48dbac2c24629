// The other side of policy/threads: one policy in a thread of its own, where an evaluation can be
// ended from outside; or what takes long before a policy can be loaded.
import { parentPort, workerData } from 'node:worker_threads'
import { messageOf } from '../problem.ts'
import { createInstance } from './instance.ts'
import type { Batch, Crossed, Making, MakingReply, Reply, Start } from './threads.ts'

const port = parentPort
if (port === null) throw new Error('policy/worker runs as a worker thread only')
const say = (reply: Reply | MakingReply, moved: ArrayBuffer[] = []): void =>
  port.postMessage(reply, moved)

const make = async ({ make: of }: Making): Promise<void> => {
  // A policy that answers needs nothing of it.
  const { makeOf } = await import('./make.ts')
  const { tables, vain, ready } = makeOf(of)
  const crossed = [...tables].map(([name, { where, own, value }]): [string, Crossed] => [
    name,
    { where, own, json: new TextEncoder().encode(JSON.stringify(value)) },
  ])
  say({ kind: 'made', tables: crossed, vain, ready }, [ready.data.buffer])
}

const serve = async ({ module, data, inputLimit }: Start): Promise<void> => {
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
}

try {
  const start = workerData as Start | Making
  await ('make' in start ? make(start) : serve(start))
} catch (error) {
  say({ kind: 'refused', why: messageOf(error) })
}
