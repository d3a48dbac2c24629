// Arrows run down floors, powers stay where they belong, and files stay small: read from the sources themselves.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { CATALOGUE } from '../proxy/problem.ts'
import { functionsOf } from './support/functions.ts'

const root = fileURLToPath(new URL('../proxy/', import.meta.url))
const MOST_LINES = 560
/** Of a function by itself: what fits a screen. */
const MOST_OWN_LINES = 80
const MOST_PARAMETERS = 4
const MOST_FILES = 28

type Arrow = { readonly to: string; readonly byValue: boolean }
type Source = {
  readonly path: string
  readonly text: string
  readonly lines: number
  /** Comments blotted out, so that words in them are no findings. */
  readonly code: string
  /** Files of the house that it imports. */
  readonly arrows: readonly Arrow[]
  /** Packages and `node:` modules, by value or as `import()`. */
  readonly outside: readonly string[]
}

/** Strings stay, comments go: `//` inside a string or an expression of slashes is rare, and a blot there hides nothing we seek. */
const withoutComments = (text: string): string =>
  text
    .replaceAll(/\/\*[\s\S]*?\*\//g, (found) => found.replaceAll(/[^\n]/g, ' '))
    .replaceAll(/(^|[^:'"`\\/])\/\/[^\n]*/gm, '$1')

const IMPORT =
  /(?:^|\n)\s*(import|export)\s+(type\s+)?([^'";]*?)\s*from\s*'([^']+)'|\bimport\(\s*'([^']+)'|new URL\(\s*'(\.[^']+\.ts)'/g
const byValueOf = (type: string | undefined, names: string): boolean =>
  type === undefined &&
  // `import { type A, type B }` brings nothing at run time either.
  !/^\{(?:\s*type\s+[^,}]+,?)+\s*\}$/.test(names)

const read = (path: string): Source => {
  const text = readFileSync(join(root, path), 'utf8')
  const code = withoutComments(text)
  const arrows: Arrow[] = []
  const outside: string[] = []
  for (const [, , type, names = '', from, lazy, worker] of code.matchAll(IMPORT)) {
    const target = from ?? lazy ?? worker ?? ''
    const byValue = from === undefined || byValueOf(type, names)
    if (target.startsWith('.')) arrows.push({ to: normalize(join(dirname(path), target)), byValue })
    else if (byValue) outside.push(target)
  }
  return { path, text, lines: text.trimEnd().split('\n').length, code, arrows, outside }
}
const sources = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))
  .sort()
  .map(read)

/** The floors, the highest first; files beside them are the words that all rooms speak. */
const ROOMS = [
  'main.ts serve.ts commands quirks compose people api tools consent pipeline audit tokens oauth vault directory policy',
  'store config providers observe net envelope wire',
]
  .join(' ')
  .split(' ')
const roomOf = (path: string): string => path.split('/', 1)[0] ?? ''
const floorOf = (path: string): number => {
  const from = ROOMS.indexOf(roomOf(path))
  return from === -1 ? 0 : ROOMS.length - from
}
/** Of the request's way, in its order. */
const STATIONS =
  'route tag_place identify classify inspect entitlements decide checks hold obligations credential forward'
    .split(' ')
    .map((name) => `pipeline/${name}.ts`)
/** Rooms that know no machine: of node: only crypto, util and url. */
const PURE = ['envelope', 'wire', 'providers']
const AT_THE_EDGE = ['files.ts']

const offenders = (found: (source: Source) => readonly string[]): readonly string[] =>
  sources.flatMap((source) => found(source).map((what) => `proxy/${source.path}: ${what}`))
const where = (pattern: RegExp, allowed: readonly string[]): readonly string[] =>
  offenders(({ path, code }) =>
    allowed.includes(path)
      ? []
      : code
          .split('\n')
          .flatMap((line, i) => (pattern.test(line) ? [`line ${i + 1}: ${line.trim()}`] : [])),
  )

describe('the house', () => {
  test('every file stands in a room, or is a word that all rooms speak', () => {
    const folders = new Set(
      sources.flatMap(({ path }) => (path.includes('/') ? [roomOf(path)] : [])),
    )
    expect([...folders].filter((room) => !ROOMS.includes(room))).toEqual([])
  })

  test('a file imports by value only from lower floors or from its own folder', () => {
    expect(
      offenders(({ path, arrows }) =>
        arrows
          .filter(
            ({ to, byValue }) =>
              byValue &&
              roomOf(to) !== roomOf(path) &&
              floorOf(to) > 0 &&
              floorOf(to) >= floorOf(path),
          )
          .map(({ to }) => `imports ${to} of floor ${floorOf(to)}`),
      ),
    ).toEqual([])
  })

  test('no station of the way imports another by value', () => {
    expect(
      offenders(({ path, arrows }) =>
        STATIONS.includes(path)
          ? arrows
              .filter(({ to, byValue }) => byValue && STATIONS.includes(to))
              .map(({ to }) => `imports ${to}`)
          : [],
      ),
    ).toEqual([])
  })

  test('no arrows run in a circle, those of types included', () => {
    const to = new Map(sources.map(({ path, arrows }) => [path, arrows.map((arrow) => arrow.to)]))
    const circles: string[] = []
    const done = new Set<string>()
    const walk = (path: string, trail: readonly string[]): void => {
      const at = trail.indexOf(path)
      if (at !== -1) circles.push([...trail.slice(at), path].join(' → '))
      if (at !== -1 || done.has(path)) return
      for (const next of to.get(path) ?? []) walk(next, [...trail, path])
      done.add(path)
    }
    for (const { path } of sources) walk(path, [])
    expect(circles).toEqual([])
  })

  test('every import names a file that exists', () => {
    const known = new Set(sources.map(({ path }) => path))
    expect(
      offenders(({ arrows }) =>
        arrows.filter(({ to }) => !known.has(to)).map(({ to }) => `imports ${to}`),
      ),
    ).toEqual([])
  })

  test('the pure rooms know no machine: of node: only crypto, util and url', () => {
    expect(
      offenders(({ path, outside }) =>
        (floorOf(path) === 0 && !AT_THE_EDGE.includes(path)) || PURE.includes(roomOf(path))
          ? outside.filter(
              (name) =>
                name.startsWith('node:') &&
                !['node:crypto', 'node:util', 'node:url'].includes(name),
            )
          : [],
      ),
    ).toEqual([])
  })
})

describe('powers', () => {
  test('the environment is read by main and config/load only', () => {
    expect(where(/\bprocess\.env\b/, ['main.ts', 'config/load.ts'])).toEqual([])
  })
  test('only main ends the process', () => {
    expect(where(/\bprocess\.(?:exit|abort|reallyExit)\b/, ['main.ts'])).toEqual([])
  })
  test('nothing prints by console', () => {
    // A page of docs/ has the word for its name.
    expect(where(/\bconsole\.(?!md\b)/, [])).toEqual([])
  })
  test('a secret is revealed where it is sealed, sent to a token endpoint or put into a header', () => {
    const allowed = [
      'vault/seal.ts',
      'oauth/client.ts',
      'oauth/own_token.ts',
      'wire/headers.ts',
      'net/tunnel.ts',
      'directory/ldap_wire.ts', // the server takes it in no other form
      'observe/otlp.ts', // a header for the collector
      'pipeline/application.ts', // found where it does not belong
    ]
    expect(
      where(/\.\s*reveal\b|\breveal\s*\(|(?<!typeof \w{1,40})\[\s*['"`]reveal/, [
        ...allowed,
        'secret.ts',
      ]),
    ).toEqual([])
    // Taken apart, `reveal` would escape the line above.
    expect(where(/[{,]\s*reveal\s*[,}:]/, ['secret.ts', ...allowed])).toEqual([])
  })
  test('no any, no non-null assertion by a comment, no classes but errors', () => {
    expect(where(/:\s*any\b|\bas any\b|@ts-(?:ignore|expect-error|nocheck)/, [])).toEqual([])
    expect(where(/\bclass\s+\w+(?!\s+extends\s+\w*Error)\b(?!.*extends\s+\w*Error)/, [])).toEqual(
      [],
    )
  })
})

describe('measure', () => {
  test('the sources are found', () => {
    expect(sources.length).toBeGreaterThan(40)
  })
  test(`a file has at most ${MOST_LINES} lines`, () => {
    // The vocabulary, the codes and the sentences of keys are lists, not ideas.
    const lists = ['model.ts', 'problem.ts', 'config/words.ts']
    expect(
      offenders(({ path, lines }) =>
        lines > MOST_LINES && !lists.includes(path) ? [`${lines} lines`] : [],
      ),
    ).toEqual([])
  })
})

describe('functions', () => {
  const measured = sources.flatMap(({ path, text }) =>
    functionsOf(text).map((one) => ({ ...one, where: `${path} ${one.name}` })),
  )
  test(`one fits a screen: ${MOST_OWN_LINES} lines beside the functions inside it`, () => {
    const long = measured.filter(({ lines }) => lines > MOST_OWN_LINES)
    expect(long.map(({ where, lines }) => `${where}: ${lines}`)).toEqual([])
  })
  test(`one takes ${MOST_PARAMETERS} things at most, more come as one with names`, () => {
    const wide = measured.filter(({ parameters }) => parameters > MOST_PARAMETERS)
    expect(wide.map(({ where, parameters }) => `${where}: ${parameters}`)).toEqual([])
  })
})

describe('tests', () => {
  /** Sources without a test of their name: the test that proves them, and why it has another name. A row only ever leaves. */
  const ELSEWHERE: Readonly<Record<string, readonly [test: string, why: string]>> = {
    'consent/pasted.ts': ['e2e/api_keys.test.ts', 'pastes keys on the pages of a whole deputy'],
    'api/people.ts': ['commands/people.test.ts', 'answers the commands, over a whole deputy'],
    'audit/telling.ts': ['audit/records.test.ts', 'seen in the records that it words'],
    'audit/people_kept.ts': ['commands/people.test.ts', 'what the commands are given'],
    'api/begin.ts': ['api/auth.test.ts', 'begins what that API is asked for'],
    'api/caller.ts': ['api/auth.test.ts', 'tells who asks it'],
    'api/tools.ts': ['e2e/tools.test.ts', 'answers the unmodified client of a whole deputy'],
    'api/tools_schema.ts': ['e2e/tools.test.ts', 'schemas, tried by the calls that they let in'],
    'compose/doors/asking.ts': ['e2e/tools.test.ts', 'wiring'],
    'compose/hooks.ts': ['e2e/hooks.test.ts', 'wiring'],
    'config/hooks.ts': ['config/schema.test.ts', 'each key is refused or carried out'],
    'config/keyed.ts': ['e2e/api_keys.test.ts', 'what a key provider has no use for is refused'],
    'consent/notices.ts': ['e2e/obligations.test.ts', 'tried with whoever takes them, and without'],
    'directory/hook.ts': ['e2e/hooks.test.ts', 'asked on a socket, in every way that it may fail'],
    'net/h2.ts': ['e2e/h2.test.ts', 'with real clients; what has two readings is tried by itself'],
    'net/fault.ts': [
      'pipeline/forward.test.ts',
      'each fault of the transport, and e2e/faults.test.ts',
    ],
    'net/websocket.ts': ['e2e/websocket.test.ts', 'with real clients and a real server'],
    'net/guarded.ts': ['e2e/redact.test.ts', 'tried with each answer that may not pass'],
    'net/webhook.ts': ['consent/webhook.test.ts', 'signs what it posts'],
    'store/notices.ts': ['store/store.test.ts', 'of both databases'],
    'compose/doors/tools.ts': ['e2e/tools.test.ts', 'wiring'],
    'config/tools.ts': ['config/schema.test.ts', 'each key is refused or carried out'],
    'pipeline/job.ts': ['pipeline/pep.test.ts', 'a step of the way, tried in it'],
    'pipeline/record.ts': ['pipeline/pep.test.ts', 'a step of the way, tried in it'],
    'store/timeline.ts': ['store/limits.test.ts', 'clocks that are set while counts are kept'],
    'pipeline/request.ts': ['pipeline/pep.test.ts', 'words of the way'],
    'compose/authority.ts': ['e2e/forward.test.ts', 'wiring, tried by clients in three languages'],
    'net/tunnels.ts': ['e2e/forward.test.ts', 'tried by clients in three languages, and by hand'],
    'compose/export.ts': ['e2e/otlp.test.ts', 'wiring, tried at a real collector'],
    'observe/otlp.ts': ['e2e/otlp.test.ts', 'tried at a real collector, and at hostile ones'],
    'observe/otlp_logs.ts': ['e2e/otlp.test.ts', 'tried at a real collector, and at hostile ones'],
    'tools/at.ts': ['commands/tools.test.ts', 'gathers what they list'],
    'tools/visible.ts': ['e2e/tools.test.ts', 'asks the real policy what to list'],
    'api/openapi.ts': ['api/operators.test.ts', 'writes the document that every route is held to'],
    'api/operators_schema.ts': [
      'api/operators.test.ts',
      'schemas, tried by the calls that they let in',
    ],
    'api/approvals.ts': ['e2e/approvals.test.ts', 'its routes, on a whole deputy'],
    'compose/asks.ts': ['e2e/approvals.test.ts', 'wiring'],
    'people/approvals.ts': ['e2e/approvals.test.ts', 'its page, on a whole deputy'],
    'people/step_up.ts': ['e2e/approvals.test.ts', 'its page, on a whole deputy'],
    'store/asks.ts': ['store/store.test.ts', 'one test for both databases'],
    'api/standings.ts': ['consent/standing.test.ts', 'its routes end what people gave there'],
    'api/scim_discovery.ts': ['e2e/scim.test.ts', 'read by the foreign checkers'],
    'policy/why/proposals.ts': [
      'policy/why/search.test.ts',
      'each step is tried there on the real policy',
    ],
    'audit/sink.ts': ['audit/journal.test.ts', 'a disk that fails is tried under the journal'],
    'compose/audit.ts': ['e2e/failclosed.test.ts', 'wiring'],
    'compose/checks.ts': ['e2e/checks.test.ts', 'wiring'],
    'compose/clock.ts': ['e2e/clock.test.ts', 'wiring'],
    'compose/consent.ts': ['e2e/midway.test.ts', 'wiring'],
    'compose/doors/mcp.ts': ['e2e/mcp_door.test.ts', 'wiring'],
    'compose/core.ts': ['e2e/failclosed.test.ts', 'wiring'],
    'compose/directories.ts': ['commands/entitlements.test.ts', 'wiring'],
    'compose/listeners.ts': ['e2e/hostile.test.ts', 'wiring'],
    'compose/pages.ts': ['e2e/disconnect.test.ts', 'wiring'],
    'compose/pipeline.ts': ['e2e/transparency.test.ts', 'wiring'],
    'compose/programs.ts': ['e2e/framing.test.ts', 'wiring'],
    'compose/scope.ts': ['e2e/leaving.test.ts', 'wiring'],
    'compose/scim.ts': ['e2e/scim.test.ts', 'wiring'],
    'compose/signals.ts': ['e2e/security_events.test.ts', 'wiring'],
    'api/plan_schema.ts': ['api/plan.test.ts', 'each of its faults, over the wire'],
    'compose/doors/plan.ts': ['api/plan.test.ts', 'wiring'],
    'people/plan_page.ts': ['api/plan.test.ts', 'its page, clicked through'],
    'oauth/event_token.ts': ['e2e/security_events.test.ts', 'each rule, by real signatures'],
    'model.ts': ['store/scim.test.ts', 'types, and one error that two rooms know'],
    'compose/snapshot.ts': ['commands/validate.test.ts', 'each of its files, absent and wrong'],
    'compose/web.ts': ['e2e/disconnect.test.ts', 'wiring'],
    'config/parse.ts': ['config/schema.test.ts', 'reads by that schema'],
    'config/rules.ts': ['config/schema.test.ts', 'what keys of that schema say together'],
    'config/values.ts': ['config/schema.test.ts', 'tried by the keys that have such values'],
    'consent/callback.ts': ['consent/phishing.test.ts', 'each attack on it by name'],
    'consent/ending.ts': ['consent/flow.test.ts', 'a step of the flow'],
    'consent/leg.ts': ['consent/flow.test.ts', 'a step of the flow'],
    'consent/sign_in.ts': ['people/app.test.ts', 'signs in who opens its pages'],
    'tools/mcp.ts': ['e2e/mcp_door.test.ts', 'answers over the wire, each of them'],
    'net/listener.ts': ['e2e/hostile.test.ts', 'what nobody should send, on its sockets'],
    'people/page.ts': ['people/app.test.ts', 'the frame of every page there'],
    'people/sign_in.ts': ['people/app.test.ts', 'its pages are part of the app'],
    'people/standings.ts': ['consent/standing.test.ts', 'its page, on a whole deputy'],
    'policy/instance.ts': ['policy/activate.test.ts', 'tried with whole policies'],
    'providers/assemble.ts': ['providers/parse.test.ts', 'a part of reading a definition'],
    'providers/catalogue.ts': ['providers/parse.test.ts', 'a part of reading a definition'],
    'providers/definition.ts': ['providers/parse.test.ts', 'a part of reading a definition'],
    'quirks/answers.ts': ['providers/quirks.test.ts', 'is itself a suite'],
    'quirks/chains.ts': ['providers/quirks.test.ts', 'is itself a suite'],
    'quirks/client_auth.ts': ['providers/quirks.test.ts', 'is itself a suite'],
    'quirks/failures.ts': ['providers/quirks.test.ts', 'is itself a suite'],
    'quirks/places.ts': ['providers/quirks.test.ts', 'is itself a suite'],
    'quirks/server.ts': ['providers/quirks.test.ts', 'is itself a suite'],
    'quirks/session.ts': ['providers/quirks.test.ts', 'is itself a suite'],
    'quirks/world.ts': ['providers/quirks.test.ts', 'is itself a suite'],
    'serve.ts': ['e2e/leaving.test.ts', 'wiring'],
    'store/asking.ts': ['store/store.test.ts', 'one test for both databases'],
    'store/credentials.ts': ['store/store.test.ts', 'one test for both databases'],
    'api/acts.ts': ['api/operators.test.ts', 'its acts, over the wire'],
    'consent/code_flow.ts': ['people/app.test.ts', 'signs in who opens its pages'],
    'compose/operator_pages.ts': ['e2e/console.test.ts', 'wiring'],
    'people/console/acts.ts': ['e2e/console.test.ts', 'each act, at a whole deputy'],
    'people/console/app.ts': ['e2e/console.test.ts', 'its pages, at a whole deputy'],
    'people/console/session.ts': ['e2e/console.test.ts', 'signs in at a real provider'],
    'people/console/assets.ts': [
      'people/console/browser.test.ts',
      'style and script, in a browser',
    ],
    'people/console/now_page.ts': ['people/console/browser.test.ts', 'pages, in a browser'],
    'people/console/shell.ts': ['people/console/browser.test.ts', 'the frame of its pages'],
    'people/console/state_page.ts': ['people/console/browser.test.ts', 'pages, in a browser'],
    'store/flows.ts': ['store/store.test.ts', 'one test for both databases'],
    'store/migrations.ts': ['store/sqlite.test.ts', 'each schema that was released'],
    'store/postgres_schema.ts': ['store/postgres.test.ts', 'each schema that was released'],
    'store/agents.ts': ['store/store.test.ts', 'one test for both databases'],
    'store/runs.ts': ['store/store.test.ts', 'one test for both databases'],
    'store/standings.ts': ['store/store.test.ts', 'one test for both databases'],
    'store/tables.ts': ['store/store.test.ts', 'one test for both databases'],
    'tokens/pending.ts': ['tokens/refresh.test.ts', 'what a refresh leaves when the store is down'],
  }
  const here = fileURLToPath(new URL('.', import.meta.url))
  const testOf = (path: string): string => path.replace(/\.ts$/, '.test.ts')
  const has = (path: string): boolean => existsSync(join(here, testOf(path)))
  /** Types alone are proved by the compiler, and a thread by whoever starts it. */
  const givesNothing = ({ code }: Source): boolean => !/^export (?!type\b)/m.test(code)
  const own = sources
    .filter((source) => !givesNothing(source))
    .map(({ path }) => path)
    .filter((path) => path !== 'main.ts' && !path.startsWith('commands/'))

  const known = new Map<string, readonly string[]>()
  /** The files that one imports. */
  const importsOf = (path: string): readonly string[] => {
    const code = existsSync(path) ? withoutComments(readFileSync(path, 'utf8')) : ''
    const all = [...code.matchAll(IMPORT)].map((found) => found[4] ?? found[5] ?? found[6] ?? '')
    return all.flatMap((to) => (to.startsWith('.') ? [normalize(join(dirname(path), to))] : []))
  }
  /** Every source that a test imports, through others or not. */
  const reached = (test: string): ReadonlySet<string> => {
    const found = new Set<string>()
    const walk = (path: string): void => {
      if (found.has(path)) return
      found.add(path)
      const next = known.get(path) ?? importsOf(path)
      known.set(path, next)
      next.forEach(walk)
    }
    walk(join(here, test))
    return found
  }

  test('every source has a test of its name, or says which one proves it', () => {
    expect(own.filter((path) => !has(path) && !Object.hasOwn(ELSEWHERE, path))).toEqual([])
  })
  test('a source that has a test of its name, or is gone, is proved nowhere else', () => {
    expect(Object.keys(ELSEWHERE).filter((path) => has(path) || !own.includes(path))).toEqual([])
  })
  test('a test that proves a source of another name reaches it', () => {
    const lost = Object.entries(ELSEWHERE).filter(
      ([path, [test]]) => !reached(test).has(join(root, path)),
    )
    expect(lost.map(([path, [test]]) => `${test} does not reach ${path}`)).toEqual([])
  })
})

test(`a folder has at most ${MOST_FILES} files`, () => {
  const rooms = Map.groupBy(sources, ({ path }) => dirname(path))
  const full = [...rooms].filter(([, files]) => files.length > MOST_FILES)
  expect(full.map(([room, files]) => `${room}: ${files.length}`)).toEqual([])
})

test('shipped data is ASCII: one wide character in a YAML file makes each string cut from it wide, and every record slower', () => {
  for (const dir of ['../providers/', '../policies/deputy_data/']) {
    const at = fileURLToPath(new URL(dir, import.meta.url))
    for (const name of readdirSync(at).filter((file) => /\.(?:ya?ml|json)$/.test(file))) {
      const text = readFileSync(join(at, name), 'utf8')
      expect(/[^\t\n\r\x20-\x7e]/.exec(text)?.[0], name).toBeUndefined()
    }
  }
})

test('docs/answers.md lists every problem code with its status', () => {
  const answers = readFileSync(new URL('../docs/answers.md', import.meta.url), 'utf8')
  const rows = answers.split('\n')
  const missing = Object.entries(CATALOGUE).filter(
    ([code, { status }]) =>
      !rows.some((row) => row.includes(`\`${code}\``) && row.includes(String(status))),
  )
  expect(missing.map(([code, { status }]) => `${code} ${status}`)).toEqual([])
})
