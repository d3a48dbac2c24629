// A policy that is asked and serves nobody: always in a thread of its own, since what it was never asked may never end.
import type { JsonObject, PolicyDecision, PolicyEngine, PolicyFailure } from '../../model.ts'
import { isObject } from '../../wire/json.ts'
import { activate } from '../activate.ts'
import { documentOf, readyOf, tablesIn } from '../make.ts'
import type { Ready, Tables } from '../make.ts'
import type { Bundle } from '../bundle.ts'
import { createReader } from '../decision.ts'
import { whole } from '../instance.ts'
import { openIsolate } from '../threads.ts'
import type { Isolate } from '../threads.ts'

export type Answer = PolicyDecision | PolicyFailure

export type Trial = {
  readonly revision: string
  readonly digest: string
  /** All that it decides by, those of the folder in place of the bundle's own, with whole rows as the policy sees them. */
  readonly tables: ReadonlyMap<string, JsonObject>
  /**
   * Answers in the order of the inputs. Never rejects: what never ends is `policy_timeout`, what traps `policy_error`.
   * @param changed tables for these questions alone
   */
  readonly ask: (inputs: readonly string[], changed?: Tables) => Promise<readonly Answer[]>
  /** The same as an engine; what is asked in one turn is asked together. */
  readonly engine: PolicyEngine
  readonly close: () => Promise<void>
}

/** ms for loading, for one evaluation, and for each of many beyond that. */
const LOADING = 15_000
const ONE = 100
const EACH = 1
/** So many share a deadline; of one that is late each is asked alone. */
const TOGETHER = 256
/** Threads that are ended because a question never ends; then nothing more is asked. */
const MOST_LATE = 50
/** Characters of questions whose answers are kept. */
const MOST_KEPT = 32 * 1024 * 1024

/**
 * @param ready what was made of the two before; absent: it is made here
 * @throws Error that says why the module cannot be loaded
 */
export const openTrial = async (
  {
    bundle,
    tables,
    ready = readyOf(bundle, tables),
  }: { readonly bundle: Bundle; readonly tables: Tables; readonly ready?: Ready },
  inputLimit: number,
): Promise<Trial> => {
  const module = await WebAssembly.compile(bundle.wasm)
  const { asks, digest } = ready
  const start = { module, data: ready.data, inputLimit }
  const shown = new Map(
    [...tablesIn(bundle.data, tables)].flatMap(([name, table]) =>
      isObject(table) ? [[name, table]] : [],
    ),
  )
  const read = createReader()
  let isolate = await openIsolate(start, LOADING)
  let late = 0
  let running: Promise<unknown> = Promise.resolve()

  const living = async (): Promise<Isolate> =>
    isolate.alive() ? isolate : (isolate = await openIsolate(start, LOADING))
  const alone = async (
    inputs: readonly string[],
    data: Uint8Array<ArrayBuffer> | null,
  ): Promise<(string | PolicyFailure)[]> => {
    const answers: (string | PolicyFailure)[] = []
    for (const input of inputs) {
      if (late >= MOST_LATE) {
        const detail = `not asked: ${MOST_LATE} questions did not end`
        answers.push({ failed: 'policy_timeout', detail })
        continue
      }
      const said = await (await living()).askAll({ inputs: [input], data }, ONE)
      if (!isolate.alive()) late += 1
      const [answer] = 'failed' in said ? [said] : said
      answers.push(answer ?? { failed: 'policy_error', detail: 'the policy trapped' })
    }
    return answers
  }
  const together = async (
    inputs: readonly string[],
    data: Uint8Array<ArrayBuffer> | null,
  ): Promise<readonly (string | PolicyFailure)[]> => {
    if (inputs.length === 1) return alone(inputs, data)
    const said = await (await living()).askAll({ inputs, data }, ONE + EACH * inputs.length)
    if ('failed' in said) return alone(inputs, data)
    return said.length === inputs.length
      ? said
      : [...said, ...(await alone(inputs.slice(said.length), data))]
  }
  const all = async (inputs: readonly string[], changed?: Tables): Promise<readonly Answer[]> => {
    const answers: Answer[] = []
    // What changes is made of whole tables, so the others are whole too: roles that rows name stand in role_grants there.
    const data =
      changed === undefined ? null : documentOf(bundle.data, new Map([...shown, ...changed]))
    try {
      for (let at = 0; at < inputs.length; at += TOGETHER)
        for (const one of await together(inputs.slice(at, at + TOGETHER), data))
          answers.push(typeof one === 'string' ? read(one) : one)
    } catch (error) {
      // The thread did not start again.
      const detail = error instanceof Error ? error.message : String(error)
      while (answers.length < inputs.length) answers.push({ failed: 'policy_error', detail })
    }
    return answers
  }
  const ask: Trial['ask'] = (inputs, changed) => {
    const next = running.then(() => all(inputs, changed))
    running = next
    return next
  }

  type Waiting = { readonly input: string; readonly done: (answer: Answer) => void }
  let waiting: Waiting[] = []
  const flush = async (): Promise<void> => {
    const asked = waiting
    waiting = []
    const answers = await ask(asked.map(({ input }) => input))
    for (const [i, { done }] of asked.entries())
      done(answers[i] ?? { failed: 'policy_error', detail: 'no answer' })
  }
  const { revision } = bundle
  const close = (): Promise<void> => isolate.close()
  return {
    revision,
    digest,
    tables: shown,
    ask,
    engine: {
      revision,
      digest,
      asks,
      evaluate: (input, repeated = []) =>
        new Promise((done) => {
          if (waiting.length === 0) setImmediate(() => void flush())
          waiting.push({ input: whole(input, repeated), done })
        }),
      close,
    },
    close,
  }
}

/** What is asked again is answered as before: recorded calls are more alike than they are many. */
export const remembering = (engine: PolicyEngine): PolicyEngine => {
  const known = new Map<string, ReturnType<PolicyEngine['evaluate']>>()
  let kept = 0
  return {
    ...engine,
    evaluate: (input, repeated = []) => {
      const asked = whole(input, repeated)
      const before = known.get(asked)
      if (before !== undefined) return before
      if ((kept += asked.length) > MOST_KEPT) {
        known.clear()
        kept = asked.length
      }
      const answer = engine.evaluate(asked)
      known.set(asked, answer)
      return answer
    },
  }
}

/** As `activate` of a policy that serves, but it is asked in a thread whatever it costs: whoever asks does not wait for it. */
export const activateAside: typeof activate = async (bundle, tables, deps) => {
  await (await activate(bundle, tables, deps)).close()
  const { ready = readyOf(bundle, tables), inputLimit = 32 * 1024 } = deps
  return (await openTrial({ bundle, tables, ready }, inputLimit)).engine
}
