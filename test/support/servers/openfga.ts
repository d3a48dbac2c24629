// OpenFGA's own server with its data in memory: a store, a model, and tuples that a test writes and deletes.
import { homedir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../ports.ts'
import { ask, missingProgram, startProgram } from './server.ts'

const PROGRAM =
  process.env['DEPUTY_OPENFGA'] ?? join(homedir(), '.cache/deputy-ci/openfga-1.22.1/openfga')
export const missingOpenfga = missingProgram(PROGRAM)
export const KEY = 'canary-openfga-key-0000000000000000'

type Tuple = { readonly user: string; readonly relation: string; readonly object: string }
export type Openfga = {
  readonly port: number
  readonly store: string
  readonly model: string
  readonly write: (tuple: Tuple) => Promise<unknown>
  readonly remove: (tuple: Tuple) => Promise<unknown>
  readonly close: () => Promise<void>
}

/** People and agents edit documents, themselves or as members of a group. */
const MODEL = {
  schema_version: '1.1',
  type_definitions: [
    { type: 'user' },
    { type: 'agent' },
    {
      type: 'group',
      relations: { member: { this: {} } },
      metadata: { relations: { member: { directly_related_user_types: [{ type: 'user' }] } } },
    },
    {
      type: 'doc',
      relations: { can_edit: { this: {} } },
      metadata: {
        relations: {
          can_edit: {
            directly_related_user_types: [
              { type: 'user' },
              { type: 'agent' },
              { type: 'group', relation: 'member' },
            ],
          },
        },
      },
    },
  ],
}

export const startOpenfga = async (): Promise<Openfga> => {
  const port = await freePort()
  const grpc = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const stop = await startProgram({
    command: PROGRAM,
    // As a server is set up that has much to do: an answer may be ten seconds old for whoever allows that.
    args: [
      'run --datastore-engine memory --log-level error --playground-enabled=false --metrics-enabled=false',
      `--http-addr 127.0.0.1:${port} --grpc-addr 127.0.0.1:${grpc}`,
      `--authn-method preshared --authn-preshared-keys ${KEY}`,
      '--check-query-cache-enabled=true --check-query-cache-ttl=10s',
    ].flatMap((line) => line.split(' ')),
    env: {},
    ready: `${origin}/healthz`,
    withinMs: 60_000,
  })
  const send = (path: string, body: object) =>
    ask('POST', `${origin}${path}`, body, { authorization: `Bearer ${KEY}` })
  const store = String((await send('/stores', { name: 'deputy' }))['id'])
  const { authorization_model_id: model } = await send(
    `/stores/${store}/authorization-models`,
    MODEL,
  )
  const change = (how: 'writes' | 'deletes') => (tuple: Tuple) =>
    send(`/stores/${store}/write`, { [how]: { tuple_keys: [tuple] } })
  return {
    port,
    store,
    model: String(model),
    write: change('writes'),
    remove: change('deletes'),
    close: stop,
  }
}
