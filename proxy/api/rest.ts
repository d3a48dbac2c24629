// What deputy's own JSON APIs have in common: a body is read in one way, problems are answers,
// nothing is cached.
import type { IncomingMessage } from 'node:http'
import { Hono } from 'hono'
import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { z } from 'zod'
import { said } from '../mistakes.ts'
import type { Log } from '../model.ts'
import { Problem, problemAnswer, sentence, toProblem } from '../problem.ts'
import { parseStrictBytes } from '../wire/json.ts'

export type Env = { readonly Bindings: { readonly incoming?: IncomingMessage } }
export type RestDeps = {
  /** `connect.url`: base of problem types. */
  readonly publicUrl: string
  /** Id of the exchange, for `instance`. */
  readonly newId: () => string
  readonly log: Log
}

const BODY_BYTES = 65_536

export const invalid = (detail: string): Problem => new Problem('request_invalid', detail)
/** A name or id of somebody or something. */
export const short = z.string().min(1).max(256)
/** A whole number of a query. */
export const whole = (most: number, fallback: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, 'is a whole number')
    .transform(Number)
    .refine((value) => value <= most, `is at most ${most}`)
    .default(fallback)

/** Name and message only: a cause may hold what a provider said. */
const named = (error: unknown): object =>
  error instanceof Error ? { name: error.name, message: error.message } : { name: 'unknown' }

/** `message` repeats `detail`: existing clients show that member. */
const refusal =
  (deps: RestDeps) =>
  (error: unknown): Response => {
    const problem = toProblem(error)
    const id = deps.newId()
    if (problem.cause !== undefined)
      deps.log.warn(
        { err: named(problem.cause), code: problem.code, instance: id },
        problem.message,
      )
    const extra = { ...problem.extra, message: sentence(problem.message) }
    const { code, headers } = problem
    const answer = problemAnswer(
      new Problem(code, problem.message, { extra, headers }),
      id,
      deps.publicUrl,
    )
    return new Response(answer.body, { status: answer.status, headers: { ...answer.headers } })
  }

/**
 * An app that answers every failure as a problem. Routes are added to it; `close` ends the list.
 */
export const createRest = (deps: RestDeps, bodyBytes = BODY_BYTES) => {
  const app = new Hono<Env>()
  const refuse = refusal(deps)
  const known = new Map<string, Set<string>>()
  app.use(async (c, next) => {
    // Nobody and nothing is called so, and PostgreSQL would fail at it instead of finding nothing.
    if (c.req.url.includes('%00'))
      throw invalid('the address has a zero byte (%00): names have no control characters')
    await next()
    c.header('cache-control', 'no-store')
  })
  app.use(
    bodyLimit({
      maxSize: bodyBytes,
      onError: () =>
        refuse(new Problem('request_too_large', `the body may have ${bodyBytes / 1_024} KiB`)),
    }),
  )
  app.onError(refuse)
  return {
    app,
    refuse,
    route: (
      method: 'GET' | 'POST' | 'DELETE',
      path: string,
      handle: (c: Context<Env>) => Response | Promise<Response>,
    ): void => {
      app.on(method, path, handle)
      known.set(path, (known.get(path) ?? new Set()).add(method))
    },
    close: (): Hono<Env> => {
      for (const [path, methods] of known) {
        const allow = [...methods].join(', ')
        app.all(path, () => {
          throw new Problem('method_not_allowed', `only ${allow} is known here`, {
            headers: { allow },
          })
        })
      }
      app.notFound(() =>
        refuse(new Problem('route_not_found', 'deputy’s own API has nothing at this path')),
      )
      return app
    },
  }
}

/** Without what is undefined. */
export const given = <T extends object>(
  all: T,
): { readonly [K in keyof T]?: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as {
    readonly [K in keyof T]?: Exclude<T[K], undefined>
  }

export type Rest = ReturnType<typeof createRest>

/** One page of a list, in the shape that existing clients walk by offset. @param total how many there are in all */
export const pageOf = (
  items: readonly object[],
  limit: number,
  offset: number,
  total: number,
): object => ({ items, limit, offset, page_count: items.length, total_count: total })

/** The same of a list that is at hand whole. */
export const paged = <T>(
  all: readonly T[],
  limit: number,
  offset: number,
  shape: (one: T) => object,
): object => pageOf(all.slice(offset, offset + limit).map(shape), limit, offset, all.length)

const checked = <T extends z.ZodType>(schema: T, value: unknown, whole: string): z.output<T> => {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw invalid(
    parsed.error.issues
      .flatMap((issue) =>
        issue.code === 'unrecognized_keys'
          ? [`${[...issue.path, issue.keys[0] ?? ''].join('.')}: is not known`]
          : said(issue.path.length === 0 ? { ...issue, path: [whole] } : issue),
      )
      .join('; '),
  )
}

/**
 * The body by its schema. Throws Problem unsupported_media_type or request_invalid with every
 * fault.
 */
export const readBody = async <T extends z.ZodType>(
  c: Context,
  schema: T,
): Promise<z.output<T>> => {
  if (!/^application\/json\s*(?:;|$)/i.test(c.req.header('content-type') ?? ''))
    throw new Problem('unsupported_media_type', 'the body must be application/json')
  let value: unknown
  try {
    value = parseStrictBytes(new Uint8Array(await c.req.arrayBuffer()))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new Problem('request_invalid', 'the body is not JSON with one reading', { cause: error })
  }
  return checked(schema, value, 'body')
}

/** The query by its schema; a name that is there twice has no reading. */
export const readQuery = <T extends z.ZodType>(c: Context, schema: T): z.output<T> => {
  const values = c.req.queries()
  const twice = Object.entries(values).find(([, list]) => list.length > 1)?.[0]
  if (twice !== undefined) throw invalid(`${twice}: is there twice`)
  // Some clients write `user[id]` for `user_id`.
  const flat = Object.entries(values).map(
    ([name, list]) => [name.replace(/^([a-z]+)\[([a-z]+)\]$/, '$1_$2'), list[0] ?? ''] as const,
  )
  if (new Set(flat.map(([name]) => name)).size < flat.length) throw invalid('a name is there twice')
  return checked(schema, Object.fromEntries(flat), 'query')
}
