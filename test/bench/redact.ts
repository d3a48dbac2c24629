// What redaction costs a call: an answer of 10 kB by one deputy, as it comes and redacted, in turn.
import { startDeputy, TABLES, type Fields } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import { say, type Size } from './calls.ts'
import { median, n, type Section } from './report.ts'

const ANSWER = JSON.stringify(
  Array.from({ length: 60 }, (_, i) => ({
    number: i,
    title: 'The page does not load after the last change of the settings',
    user: { login: `person-${i}`, email: `person-${i}@example.com`, id: 1_000_000 + i },
    labels: ['bug', 'help wanted'],
  })),
)
const use = (TABLES['grants'] as { readonly stream: { readonly use: Fields } }).stream.use
const hide = {
  ...use,
  path: ['redacted'],
  obligations: {
    hide: { type: 'redact', properties: { in: 'response', pointers: ['/*/user/email'] } },
  },
}

/** Part `redact` of `npm run bench`. */
export const measureRedact = async ({ quick }: Size): Promise<Section> => {
  const runs = quick ? 100 : 2_000
  const upstream = await startUpstream()
  upstream.people.set('token-of-alice-0123456789', 'alice')
  upstream.handle = (_seen, res) =>
    void res.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER)
  const deputy = await startDeputy({
    upstream: upstream.origin,
    tables: {
      ...TABLES,
      grants: { ...TABLES['grants'], stream: { use, hide } },
      role_grants: { ...TABLES['role_grants'], stream: { user: ['use', 'hide'] } },
    },
    held: [{ person: 'alice', connection: 'stream', token: 'token-of-alice-0123456789' }],
  })
  const took: Record<'passed' | 'redacted', number[]> = { passed: [], redacted: [] }
  let replaced = 0
  try {
    for (let i = 0; i < runs * 1.25; i++)
      for (const path of ['passed', 'redacted'] as const) {
        const began = performance.now()
        const answer = await fetch(`${deputy.agent}/~alice/api.stream.test/${path}`)
        const text = await answer.text()
        if (i >= runs / 4) took[path].push((performance.now() - began) * 1_000)
        if (path === 'redacted') replaced = text.split('[redacted]').length - 1
      }
  } finally {
    await deputy.close()
    await upstream.close()
  }
  const rows = (['passed', 'redacted'] as const).map((what) => {
    const us = median(took[what])
    say(`${what}: ${n(us)} µs`)
    return [what, n(ANSWER.length), n(us)]
  })
  return {
    title: 'Redaction of an answer',
    columns: ['answer', 'bytes', 'µs, median of a call'],
    rows,
    notes: ['One call after the other, client, deputy and provider in one process.'],
    wrong: replaced === 60 ? [] : [`${replaced} of 60 values were replaced`],
    skipped: [],
  }
}
