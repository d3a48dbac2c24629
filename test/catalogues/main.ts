// `npm run catalogues` writes providers/*.catalogue.json and *.parameters.json anew; with --check it says what is stale.
import { readFileSync, writeFileSync } from 'node:fs'
import { parse } from 'yaml'
import type { OperationRow } from '../../proxy/model.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { made, type Counts } from './files.ts'
import type { Found } from './found.ts'
import { gitea } from './gitea.ts'
import { githubGraphql, githubRest } from './github.ts'
import { google } from './google.ts'
import { hubspot } from './hubspot.ts'
import { linear } from './linear.ts'
import { microsoft } from './microsoft.ts'
import { slack } from './slack.ts'
import { sourceOf, type SpecName } from './specs.ts'

type Maker = { readonly specs: readonly SpecName[]; readonly found: () => readonly Found[] }
const MAKERS: Readonly<Record<string, Maker>> = {
  gitea: { specs: ['gitea'], found: gitea },
  github: {
    specs: ['github', 'githubGraphql'],
    found: () => [...githubRest(), ...githubGraphql()],
  },
  google: { specs: ['google'], found: google },
  hubspot: {
    specs: [
      'hubspotAutomation',
      'hubspotCms',
      'hubspotConversations',
      'hubspotCrm',
      'hubspotEvents',
      'hubspotMarketing',
      'hubspotMeetings',
      'hubspotUsers',
    ],
    found: hubspot,
  },
  linear: { specs: ['linear'], found: linear },
  microsoft: { specs: ['microsoft'], found: microsoft },
  salesforce: { specs: [], found: () => [] },
  slack: { specs: ['slack', 'slackScopes'], found: slack },
}

/** The rows of a definition without its generated catalogue. */
const byHand = (provider: string): readonly OperationRow[] => {
  const files = new Map<string, unknown>()
  const read = (name: string): unknown => {
    const raw: unknown = parse(readFileSync(`providers/${name}`, 'utf8'))
    files.set(`providers/${name}`, raw)
    return raw
  }
  const raw = read(`${provider}.yaml`)
  if (typeof raw !== 'object' || raw === null) throw new Error(`${provider}.yaml is no definition`)
  if ('operations' in raw && typeof raw.operations === 'string') read(raw.operations)
  files.set(
    `providers/${provider}.yaml`,
    Object.fromEntries(Object.entries(raw).filter(([key]) => key !== 'catalogue')),
  )
  const { providers, problems } = compileProviders(files)
  const [problem] = problems
  if (problem !== undefined) throw new Error(problem)
  return providers.get(provider)?.operations ?? []
}

const check = process.argv.includes('--check')
const only = process.argv.slice(2).filter((word) => !word.startsWith('-'))
const stale: string[] = []
const counts: Counts[] = []
for (const [provider, { specs, found }] of Object.entries(MAKERS)) {
  if (only.length > 0 && !only.includes(provider)) continue
  const one = made(provider, specs.map(sourceOf), byHand(provider), found())
  counts.push(one.counts)
  for (const [name, fresh] of [
    [`providers/${provider}.catalogue.json`, one.catalogue],
    [`providers/${provider}.parameters.json`, one.parameters],
  ] as const) {
    if (specs.length === 0 && name.endsWith('.catalogue.json')) continue
    if (!check) writeFileSync(name, fresh)
    else if (readFileSync(name, 'utf8') !== fresh) stale.push(name)
  }
}
const cells = [
  ['provider', 'operations', 'by hand', 'generated', 'overridden', 'with scopes'],
  ...counts.map((one) => [
    one.provider,
    one.operations,
    one.byHand,
    one.generated,
    one.overridden,
    one.withScopes,
  ]),
]
for (const row of cells)
  process.stdout.write(`${row.map((cell, i) => String(cell).padEnd(i === 0 ? 11 : 12)).join('')}\n`)
for (const name of stale) process.stdout.write(`${name}: STALE: npm run catalogues\n`)
process.exitCode = stale.length === 0 ? 0 : 1
