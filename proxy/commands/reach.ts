// How commands reach the operators' API: over HTTP, or by the socket of a deputy on this machine.
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { answers } from '../net/control.ts'

export type Answer = {
  readonly status: number
  readonly headers: { readonly get: (name: string) => string | null }
  readonly body: unknown
}
/** The operators' API, wherever it is. */
export type Reach = {
  /** @param path with its query */
  readonly ask: (method: string, path: string, body?: object) => Promise<Answer>
  readonly close: () => Promise<void>
}

export const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined

/** Any answer of ours: JSON or nothing. */
export const readAnswer = async (response: {
  readonly status: number
  readonly headers: Answer['headers']
  readonly text: () => Promise<string>
}): Promise<Answer> => {
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    body: text === '' ? null : (JSON.parse(text) as unknown),
  }
}
export const written = (method: string, body: object | undefined) => ({
  method,
  ...(body === undefined
    ? {}
    : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
})

/** null: nobody serves there. Throws an Error when the socket is another user's. */
export const overSocket = async (socketPath: string): Promise<Reach | null> =>
  (await answers(socketPath))
    ? {
        ask: (method, path, body) =>
          new Promise((resolve, reject) => {
            const { headers = {}, body: sent } = written(method, body)
            const asked = request({ socketPath, path, method, headers }, (answer) => {
              const got = answer.headers
              const get = (name: string): string | null => got[name]?.toString() ?? null
              const { statusCode: status = 0 } = answer
              readAnswer({ status, headers: { get }, text: () => text(answer) }).then(
                resolve,
                reject,
              )
            })
            asked.once('error', reject)
            asked.end(sent)
          }),
        close: () => Promise.resolve(),
      }
    : null
