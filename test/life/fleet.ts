// Deputies on one vault behind a balancer, a provider that takes no refresh token twice, and people who call without a pause.
import { randomBytes, randomUUID } from 'node:crypto'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { Agent, createServer, request, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { secret } from '../../proxy/secret.ts'
import { openStore } from '../../proxy/store/open.ts'
import { createSealer, parseKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { prepareFolder, startChild, type Child, type Fields } from '../support/deputy.ts'
import { QUIET } from '../support/log.ts'
import { freePort } from '../support/ports.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const PEOPLE = Array.from({ length: 8 }, (_, i) => `person-${i}`)
/** Of an access token, s: each person is refreshed about as often. */
const LIFE = 2
/** How long a replica serves on while its balancer hears that it drains. */
const DELAY = '2s'

/** As strict as OAuth 2.1 4.3.1 lets a provider be: a refresh token that comes twice ends the grant. */
const strict = async (): Promise<
  Upstream & { readonly lost: Set<string>; readonly count: () => number }
> => {
  const upstream = await startUpstream()
  const current = new Map(PEOPLE.map((who) => [who, `rt-${who}-0`]))
  const lost = new Set<string>()
  let made = 0
  for (const who of PEOPLE) upstream.people.set(`at-${who}-0`, who)
  upstream.token = (form, res) => {
    const given = form.get('refresh_token') ?? ''
    const who = /^rt-(.+)-\d+$/.exec(given)?.[1] ?? ''
    if (current.get(who) !== given) {
      lost.add(who)
      res.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"invalid_grant"}')
      return
    }
    made += 1
    const [access, refresh] = [`at-${who}-${made}-0123456789`, `rt-${who}-${made}`]
    current.set(who, refresh)
    upstream.people.set(access, who)
    const told = {
      access_token: access,
      refresh_token: refresh,
      token_type: 'bearer',
      expires_in: LIFE,
    }
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(told))
  }
  return Object.assign(upstream, { lost, count: () => made })
}

const seed = async (dir: string, url: string): Promise<void> => {
  const store = await openStore(url, (path) => join(dir, path), QUIET)
  const sealer = createSealer(parseKeyRing(readFileSync(join(dir, 'keys.json'), 'utf8')))
  const clock = { now: () => Date.now(), mono: () => performance.now() }
  const vault = createVault({ store, sealer, clock, randomId: randomUUID })
  for (const id of PEOPLE)
    await vault.connect({
      person: { tenant: 'default', realm: 'local', id },
      agent: 'laptop',
      connection: 'acme',
      provider: 'acme',
      account: { id, label: id },
      tokens: {
        access: secret(`at-${id}-0`),
        refresh: secret(`rt-${id}-0`),
        scopes: ['notes'],
        expiresIn: LIFE,
      },
      scopes: ['notes'],
    })
  await store.close()
}

type Replica = {
  readonly dir: string
  readonly agent: string
  readonly admin: string
  child: Child
}

/** Asks each replica whether it is ready, five times a second, and passes each call to the next one that is. No call is tried twice. */
const startBalancer = async (replicas: readonly Replica[]) => {
  const pool = new Agent({ keepAlive: true, maxSockets: 256 })
  const ready = new Set<Replica>(replicas)
  const probe = async (replica: Replica): Promise<void> => {
    const fine = await fetch(`http://${replica.admin}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    )
    if (fine) ready.add(replica)
    else ready.delete(replica)
  }
  const probing = setInterval(() => replicas.forEach((each) => void probe(each)), 200)
  let turn = 0
  const server = createServer((req, res) => {
    const list = [...ready]
    const to = list[turn++ % list.length]
    if (to === undefined) {
      res.writeHead(503).end('no replica is ready')
      return
    }
    const { hostname, port } = new URL(to.agent)
    const on = request(
      {
        agent: pool,
        hostname,
        port,
        path: req.url,
        method: req.method,
        headers: { ...req.headers, host: `${hostname}:${port}` },
      },
      (answer) => answer.pipe(res.writeHead(answer.statusCode ?? 502, answer.rawHeaders)),
    )
    on.on('error', (error) =>
      res.headersSent ? res.destroy() : res.writeHead(502).end(String(error)),
    )
    req.pipe(on)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ready: () => ready.size,
    close: () => {
      clearInterval(probing)
      server.closeAllConnections()
      server.close()
      pool.destroy()
    },
  }
}

export type Load = {
  calls: number
  /** Code or error of each call that was not answered as its person → how often. */
  readonly failed: Map<string, number>
  /** Of calls that succeeded, ms. */
  times: number[]
  /** ms from the first failure to the last. */
  readonly span: () => number
}

export type Fleet = {
  readonly replicas: readonly Replica[]
  readonly upstream: Upstream & { readonly lost: ReadonlySet<string>; readonly count: () => number }
  /** Calls while `work` runs. */
  readonly under: (work: () => Promise<void>) => Promise<Load>
  /** Ends one and starts it anew in its folder; waits until the balancer has it again. */
  readonly restart: (replica: Replica) => Promise<void>
  /** Everybody is served, with tokens of their own. @returns who is not */
  readonly unserved: () => Promise<readonly string[]>
  readonly close: () => Promise<void>
}

const ask = (origin: string, who: string, pool: Agent): Promise<string> =>
  new Promise((resolve) => {
    const on = request(
      `${origin}/api.acme.test/a`,
      { agent: pool, headers: { 'deputy-user': who }, timeout: 30_000 },
      (answer: IncomingMessage) => {
        let text = ''
        answer.on('data', (bytes: Buffer) => (text += bytes.toString()))
        answer.on('error', (error) => resolve(String(error)))
        answer.on('end', () => {
          const said = answer.headers['deputy-answer']
          if (answer.statusCode === 200)
            resolve(text.includes(`"login":"${who}"`) ? '' : `answered as somebody else: ${text}`)
          else resolve(`${answer.statusCode} ${said?.toString() ?? text.slice(0, 80)}`)
        })
      },
    )
    on.on('error', (error) => resolve(error.message))
    on.on('timeout', () => on.destroy(new Error('no answer in 30 s')))
    on.end()
  })

/** @param options.store URL, or a file in the folder of the only replica */
export const startFleet = async (options: {
  readonly store: string
  readonly replicas: number
  readonly config?: Fields
  /** Changes the folder of a replica before it starts. */
  readonly furnish?: (dir: string) => void
}): Promise<Fleet> => {
  const upstream = await strict()
  const replicas: Replica[] = []
  const setup = {
    upstream: upstream.origin,
    people: PEOPLE.map((id) => ({ id, groups: ['staff'] })),
  }
  for (let i = 0; i < options.replicas; i += 1) {
    const ports = [await freePort(), await freePort()]
    const listeners = {
      agent: `127.0.0.1:${ports[0]}`,
      admin: `127.0.0.1:${ports[1]}`,
      connect: '127.0.0.1:0',
    }
    const config = {
      listeners,
      vault: { store: options.store, keys: './keys.json' },
      limits: { drain_delay: DELAY, drain: '20s' },
      ...options.config,
    }
    const dir = await prepareFolder({ ...setup, config })
    const first = replicas[0]
    if (first === undefined) await seed(dir, options.store)
    else copyFileSync(join(first.dir, 'keys.json'), join(dir, 'keys.json'))
    options.furnish?.(dir)
    const child = await startChild(setup, dir)
    replicas.push({
      dir,
      agent: `http://127.0.0.1:${ports[0]}`,
      admin: `127.0.0.1:${ports[1]}`,
      child,
    })
  }
  const balancer = await startBalancer(replicas)
  const pool = new Agent({ keepAlive: true })
  return {
    replicas,
    upstream,
    under: async (work) => {
      const failed = new Map<string, number>()
      let [first, last] = [0, 0]
      const load: Load = { calls: 0, failed, times: [], span: () => last - first }
      const state = { over: false }
      const caller = async (who: string): Promise<void> => {
        while (!state.over) {
          const began = performance.now()
          const said = await ask(balancer.origin, who, pool)
          load.calls += 1
          if (said === '') load.times.push(performance.now() - began)
          else {
            failed.set(said, (failed.get(said) ?? 0) + 1)
            last = performance.now()
            first ||= last
          }
          await new Promise((resolve) => setTimeout(resolve, said === '' ? 5 : 50))
        }
      }
      const callers = PEOPLE.map(caller)
      await work()
      state.over = true
      await Promise.all(callers)
      return load
    },
    restart: async (replica) => {
      await replica.child.stop()
      replica.child = await startChild(setup, replica.dir)
      while (balancer.ready() < replicas.length) await new Promise((r) => setTimeout(r, 50))
    },
    unserved: async () => {
      const said = await Promise.all(PEOPLE.map((who) => ask(balancer.origin, who, pool)))
      return PEOPLE.filter((_who, i) => said[i] !== '').map((who, i) => `${who}: ${said[i] ?? ''}`)
    },
    close: async () => {
      pool.destroy()
      balancer.close()
      await Promise.all(replicas.map(({ child }) => child.close()))
      await upstream.close()
    },
  }
}

/** Changes the configuration of a replica as an operator would. */
export const rewrite = (
  { dir }: Replica,
  change: (config: Record<string, unknown>) => void,
): void => {
  const path = join(dir, 'deputy.yaml')
  const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
  change(config)
  writeFileSync(path, JSON.stringify(config))
}

/** A client secret that is another one each time; the provider here takes any. */
export const newSecret = (): string => `client-secret-${randomBytes(12).toString('hex')}`
