// An agent is switched off while a thousand of its calls are under way: how soon the last of them has ended, and what that
// keeps others from.
import { Agent, fetch, type Response } from 'undici'
import { AGENT, startChild } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import { say, type Size } from './calls.ts'
import { metricOf } from './held.ts'
import { n, part, type Section } from './report.ts'

const BEARER = 'bench-operator-bearer-0000000000000000'
/** Begun at once; all of them stay. */
const BATCH = 50
const TOKEN = 'at-alice-0123456789abcdef'

export const measureSwitch = async ({ quick }: Size): Promise<Section> => {
  const calls = quick ? 20 : 1_000
  say(`agents: ${calls} calls in flight`)
  const upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  const deputy = await startChild({
    upstream: upstream.origin,
    held: [{ person: 'alice', connection: 'stream', token: TOKEN }],
    config: {
      operators: [{ name: 'bench', bearer: BEARER, may: ['revoke'] }],
      limits: { calls: 2_000, calls_per_agent: 2_000 },
    },
  })
  const dispatcher = new Agent({ connections: calls })
  const wrong: string[] = []
  try {
    // Streams that have begun, and never end.
    upstream.handle = (_seen, res) =>
      void res.writeHead(200, { 'content-type': 'text/plain' }).write('x')
    const headers = { 'deputy-user': 'alice' }
    const url = `${deputy.agent}/api.stream.test/endless`
    const flying: Response[] = []
    for (let left = calls; left > 0; left -= BATCH)
      flying.push(
        ...(await Promise.all(
          Array.from({ length: Math.min(BATCH, left) }, () => fetch(url, { dispatcher, headers })),
        )),
      )
    const bad = flying.filter(({ status }) => status !== 200)
    if (bad.length > 0) wrong.push(`${bad.length} calls did not begin: ${bad[0]?.status}`)
    // The API is loaded when it is first asked.
    await fetch(`${deputy.connect}/v1/openapi.json`)
    const cpu = (): Promise<number> => metricOf(deputy, 'process_cpu_seconds_total')
    const before = await cpu()
    const began = performance.now()
    const ends = flying.map((answer) =>
      answer.text().then(
        () => {
          wrong.push('a stream ended as if it were whole')
          return NaN
        },
        () => performance.now() - began,
      ),
    )
    const off = await fetch(`${deputy.connect}/v1/admin/agents/${AGENT}/disable`, {
      method: 'POST',
      headers: { authorization: `Bearer ${BEARER}` },
    })
    if (off.status !== 200) wrong.push(`disable: ${off.status}`)
    const answered = performance.now() - began
    const took = await Promise.all(ends)
    const used = 1_000 * ((await cpu()) - before)
    const after = await fetch(url, { headers })
    await after.body?.cancel()
    if (after.headers.get('deputy-answer') !== 'agent_disabled')
      wrong.push(`a call after it got ${after.status}`)
    return {
      title: 'Agents',
      columns: [
        'streams in flight when the agent is switched off',
        'the operator has the answer (ms)',
        'ended: p50 (ms)',
        'the last (ms)',
        'deputy’s CPU (ms)',
      ],
      rows: [
        [String(calls), n(answered, 1), n(part(took, 0.5), 1), n(Math.max(...took), 1), n(used)],
      ],
      notes: ['from the sending of the operator’s request, as the clients of one process see it'],
      wrong: [...new Set(wrong)].slice(0, 5),
      skipped: [],
    }
  } finally {
    await dispatcher.destroy()
    await deputy.close()
    await upstream.close()
  }
}
