// The console: for operators who sign in, on the connect listener, or on their own where they have an address of it.
import type { RequestListener } from 'node:http'
import type { createOperatorsApi } from '../api/operators.ts'
import { createLists } from '../vault/lists.ts'
import { within } from '../net/admin.ts'
import type { Consent } from './consent.ts'
import type { Core } from './core.ts'
import { brandOf } from './pages.ts'
import type { Configured } from './scope.ts'
import { whenAsked } from './web.ts'

/** As a probe waits. */
const CHECK_MS = 2_000

/**
 * null: nobody signs in as an operator, or `operators_sign_in.console` is off.
 * @param of.at where browsers reach the listener that serves it, without a trailing slash
 */
export const createConsolePages = (
  scope: Configured,
  core: Core,
  { session: pages, asking }: Pick<Consent, 'session' | 'asking'>,
  {
    operators,
    at,
  }: { readonly operators: Parameters<typeof createOperatorsApi>[0]; readonly at: string },
): RequestListener | null => {
  const { config, log, opened, begins, clock } = scope
  const { operators_sign_in: rules, listeners } = config
  const { signIn } = operators
  const listens = at !== pages.publicUrl || listeners.connect !== null
  if (rules === undefined || signIn === null || !rules.console || !listens) return null
  const session = { ...pages, publicUrl: at }
  const { recent, policy, shadow, health, store } = core
  const since = core.startedAt
  begins(() => recent.keep())
  const shown = {
    ...operators,
    session,
    brand: brandOf(config, core.logo)?.words ?? null,
    logo: core.logo,
    recent,
    since,
    flows: store.flows,
    lists: createLists(store),
    asks: asking.asks,
    policy: () => ({
      revision: policy.current()?.revision ?? null,
      digest: policy.current()?.digest ?? null,
      problem: policy.problem(),
      shadow: shadow === null ? null : { revision: shadow.revision(), problem: shadow.problem() },
    }),
    checks: () => within(CHECK_MS, health.checks),
  }
  let close = (): void => {}
  opened(() => close())
  return whenAsked(log, async () => {
    const [app, { createConsoleSignIn }, { createGate }, acts] = await Promise.all([
      import('../people/console/app.ts'),
      import('../people/console/session.ts'),
      import('../api/operator.ts'),
      import('../api/acts.ts'),
    ])
    const made = app.createConsole({
      ...shown,
      signIn: createConsoleSignIn(rules, { ...session, fetch: core.fetch, signIn }),
      gate: createGate({ ...operators, operators: [], signIn: null, mono: clock.mono }),
      acts: acts.createActs(operators),
      turn: acts.createSwitch(operators),
    })
    close = made.close
    return made.app
  })
}
