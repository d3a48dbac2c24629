// What it costs to name a call, by the size of the catalogue.
import type { OperationRow, Provider, Route } from '../../proxy/model.ts'
import { createClassify } from '../../proxy/pipeline/classify.ts'
import { parseProvider } from '../../proxy/providers/parse.ts'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'
import { say, type Size } from './calls.ts'
import { median, n, type Section } from './report.ts'

const HOST = 'api.bench.example'
const SIZES = [10, 5_000, 100_000] as const
const CALLS = 1_000

const row = (i: number): OperationRow => ({
  id: `operation${i}`,
  method: i % 2 === 0 ? 'GET' : 'POST',
  path: `/v${i % 7}/group${i % 97}/{id}/part${Math.floor(i / 97)}/{item}`,
  access: 'read',
  scopes: [[]],
  inspect: [],
  upload: false,
  rewrite: [],
  host: null,
})
const providerOf = (templates: number): Provider => {
  const raw = {
    id: 'bench',
    authorize: `https://${HOST}/authorize`,
    token: `https://${HOST}/token`,
    hosts: [HOST],
  }
  const parsed = parseProvider(raw, 'bench.yaml')
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  return { ...parsed.provider, operations: Array.from({ length: templates }, (_, i) => row(i)) }
}

/** One call of each of so many templates spread over all, µs each; and how many were named as they should be. */
export const classifying = (
  templates: number,
  rounds: number,
): { readonly us: number; readonly right: number; readonly calls: number } => {
  const provider = providerOf(templates)
  const classify = createClassify([provider])
  const chosen = provider.operations.filter((_, i) => i % Math.ceil(templates / CALLS) === 0)
  const routes = chosen.map(({ method, path }): Route => ({
    connection: { name: 'bench', provider, clientId: 'c', clientSecret: null, scopes: [] },
    host: HOST,
    origin: `https://${HOST}`,
    authority: HOST,
    port: 443,
    asset: false,
    addressing: { kind: 'listener' },
    named: null,
    target: canonicalTarget(method, path.replaceAll(/\{\w+\}/g, 'abc-123')),
  }))
  const right = routes.filter((route, i) => classify(route).operation.id === chosen[i]?.id).length
  const took = Array.from({ length: rounds }, () => {
    const began = performance.now()
    // As many calls whatever the catalogue: ten templates are called a hundred times each.
    for (let i = 0; i < CALLS; i += 1) {
      const route = routes[i % routes.length]
      if (route !== undefined) classify(route)
    }
    return ((performance.now() - began) * 1_000) / CALLS
  })
  return { us: median(took), right, calls: routes.length }
}

/** Part `classify` of `npm run bench`. */
export const measureClassify = ({ quick }: Size): Promise<Section> => {
  const rounds = quick ? 5 : 100
  classifying(10, rounds) // the first pays for what is compiled
  const found = SIZES.map((templates) => ({ templates, ...classifying(templates, rounds) }))
  const least = found[0]?.us ?? 0
  for (const { templates, us } of found) say(`${templates} templates: ${n(us, 2)} µs`)
  return Promise.resolve({
    title: 'Which operation is this call?',
    columns: ['templates', 'µs, median', 'times that of 10'],
    rows: found.map(({ templates, us }) => [n(templates), n(us, 2), n(us / least, 1)]),
    notes: [`In one process; up to ${n(CALLS)} different calls, spread over the whole catalogue.`],
    wrong: found.flatMap(({ templates, right, calls }) =>
      right === calls ? [] : [`${calls - right} of ${calls} calls at ${templates} were misnamed`],
    ),
    skipped: [],
  })
}
