// The configuration changes while calls run: nothing is dropped, or the last good one serves on and says why.
import {
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import {
  BUNDLE,
  loadFolder,
  prepareFolder,
  startDeputy,
  type Deputy,
  type Fields,
} from '../support/deputy.ts'
import { load } from '../../proxy/config/load.ts'
import { serve } from '../../proxy/serve.ts'
import { paced } from '../support/pace.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/** Files are looked at each second, twice. */
const LONG = { timeout: 40_000, interval: 100 }
const TOKEN = 'at-alice-0123456789abcdef'
let upstream: Upstream
const ends: (() => unknown)[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(() => upstream.close())
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})
const HELD = [
  { person: 'alice', token: TOKEN },
  { person: 'alice', token: TOKEN, connection: 'stream' },
]
const begin = async (config: Fields = {}): Promise<Deputy> => {
  const deputy = await startDeputy({ upstream: upstream.origin, held: HELD, config })
  ends.push(() => deputy.close())
  return deputy
}
const call = async (deputy: Deputy, path = '/api.acme.test/a'): Promise<unknown> => {
  const answer = await fetch(`${deputy.agent}${path}`, { headers: { 'deputy-user': 'alice' } })
  const said = (await answer.json()) as { code?: string; login?: string }
  return said.code ?? said.login
}
const rewrite = (deputy: Deputy, change: (config: Record<string, unknown>) => void): void => {
  const path = join(deputy.dir, 'deputy.yaml')
  const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
  change(config)
  writeFileSync(path, JSON.stringify(config))
}

test('a thousand calls while the configuration is read again and again: none fails', async () => {
  const deputy = await begin()
  const reloads = { over: false }
  const failed: unknown[] = []
  let done = 0
  const workers = Array.from({ length: 8 }, async () => {
    while (!reloads.over || done < 1_000) {
      const said = await call(deputy)
      done++
      if (said !== 'alice') failed.push(said)
    }
  })
  for (let i = 0; i < 10; i++) {
    rewrite(deputy, (config) => (config['limits'] = { calls_per_agent: 500 + i }))
    await deputy.reload()
  }
  reloads.over = true
  await Promise.all(workers)
  expect(failed).toEqual([])
  const events = deputy.evidence().filter(({ event }) => event === 'config.reloaded')
  expect(events.length).toBeGreaterThanOrEqual(10)
  expect(await verbose(deputy)).not.toMatch(/policy .*;/)
})

const verbose = async (deputy: Deputy): Promise<string> => {
  const answer = await fetch(`http://${deputy.admin}/readyz?verbose`)
  return `${answer.status} ${await answer.text()}`
}
const metric = async (deputy: Deputy, name: string): Promise<number> => {
  const text = await (await fetch(`http://${deputy.admin}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
}
const SUCCESS = 'deputy_config_last_reload_successful'
const AT = 'deputy_config_last_reload_success_timestamp_seconds'

test('a map of Kubernetes turned to another version counts within seconds; broken, it is told and changes nothing', async () => {
  const folder = await prepareFolder({ upstream: upstream.origin, held: HELD })
  const path = join(folder, 'deputy.yaml')
  const text = readFileSync(path, 'utf8')
  // As the kubelet does it: a folder a version, `..data` leads to it, names lead through `..data`.
  const version = (name: string, content: string): void => {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'deputy.yaml'), content)
    symlinkSync(name, join(folder, '..data.new'))
    renameSync(join(folder, '..data.new'), join(folder, '..data'))
  }
  version('..1', text)
  rmSync(path)
  symlinkSync('..data/deputy.yaml', path)
  const deputy = await startDeputy({ upstream: upstream.origin }, folder)
  ends.push(() => deputy.close())
  const config = JSON.parse(text) as { connections: Record<string, Fields> }
  const { acme } = config.connections
  version('..2', JSON.stringify({ ...config, connections: { acme } }))
  await expect.poll(() => verbose(deputy), LONG).toContain('[+] config revision 2\n')
  expect(await call(deputy, '/api.stream.test/a')).toBe('route_not_found')
  const before = await metric(deputy, AT)
  version('..3', 'connections: [')
  await expect.poll(() => metric(deputy, SUCCESS), LONG).toBe(0)
  expect(await verbose(deputy)).toMatch(
    /^200 [\s\S]*\[\+\] config revision 2; what its files say now is refused: .*deputy\.yaml:1: .+/,
  )
  expect(await metric(deputy, AT)).toBe(before)
  expect(await call(deputy)).toBe('alice')
  expect(deputy.logged()).toContain('the new configuration is refused, the last good one serves on')
  // Another mistake soon after is another line of the log.
  version('..3b', 'version: 2')
  await expect
    .poll(() => deputy.logged(), LONG)
    .toMatch(/the last good one serves on: [^\n]*\bversion\b/)
  expect(deputy.evidence().filter(({ event }) => event.startsWith('config.'))).toMatchObject([
    { event: 'config.reloaded', revision: 2, digest: expect.stringMatching(/^hmac:/) as string },
    { event: 'config.rejected', revision: 2, problems: [expect.stringContaining('deputy.yaml:1')] },
    {
      event: 'config.rejected',
      revision: 2,
      problems: expect.arrayContaining(['line 1: version: must be 1']) as unknown,
    },
  ])
  version('..4', text)
  await expect.poll(() => metric(deputy, SUCCESS), LONG).toBe(1)
  expect(await call(deputy, '/api.stream.test/a')).toBe('alice')
})

test('what cannot change without a restart is named, and nothing else of that configuration counts', async () => {
  const deputy = await begin()
  rewrite(deputy, (config) => {
    config['listeners'] = { ...(config['listeners'] as Fields), names: ['deputy.test'] }
    config['vault'] = { store: 'sqlite:other.db', keys: './keys.json' }
    config['connections'] = {}
  })
  await deputy.reload()
  expect(await verbose(deputy)).toContain('connections: needs one connection at least')
  rewrite(deputy, (config) => {
    config['connections'] = { acme: { provider: 'acme', client_id: 'd', client_secret: 's' } }
  })
  await deputy.reload()
  const said = await verbose(deputy)
  expect(said).toContain('listeners.names: cannot change while deputy runs: restart it')
  expect(said).toContain('vault.store: cannot change while deputy runs')
  expect(await call(deputy, '/api.stream.test/a')).toBe('alice')
})

test('a secret whose file vanishes is told, what was read of it serves on, and it heals when it is back', async () => {
  const folder = await prepareFolder({ upstream: upstream.origin, held: HELD })
  const [secretFile, path] = [join(folder, 'secret'), join(folder, 'deputy.yaml')]
  writeFileSync(secretFile, 'client-secret-of-acme-0123456789\n')
  const config = JSON.parse(readFileSync(path, 'utf8')) as { connections: Record<string, Fields> }
  config.connections['acme'] = { ...config.connections['acme'], client_secret: '${file:./secret}' }
  writeFileSync(path, JSON.stringify(config))
  const deputy = await startDeputy({ upstream: upstream.origin }, folder)
  ends.push(() => deputy.close())
  renameSync(secretFile, `${secretFile}.away`)
  await expect.poll(() => verbose(deputy), LONG).toContain(`${secretFile} does not exist`)
  expect(await verbose(deputy)).toContain('connections.acme.client_secret')
  expect(await call(deputy)).toBe('alice')
  renameSync(`${secretFile}.away`, secretFile)
  await expect.poll(() => metric(deputy, SUCCESS), LONG).toBe(1)
})

test('a bundle that is none is refused, and the one before decides on', async () => {
  const deputy = await begin()
  writeFileSync(join(deputy.dir, 'broken.tar.gz'), 'no bundle')
  rewrite(deputy, (config) => (config['policy'] = { bundle: './broken.tar.gz', data: './tables' }))
  await deputy.reload()
  expect(await verbose(deputy)).toMatch(/refused: line 1: policy: /)
  expect(await call(deputy)).toBe('alice')
  expect(deputy.evidence().filter(({ event }) => event === 'policy.loaded')).toHaveLength(1)
  // Nobody is told that no policy serves: one does.
  expect(deputy.logged()).not.toContain('"no policy serves: every call is refused",[["err"')
  // Mended where nobody looks, it is tried again.
  cpSync(BUNDLE, join(deputy.dir, 'broken.tar.gz'))
  await expect.poll(() => metric(deputy, SUCCESS), LONG).toBe(1)
})

test('a signal alone, as whoever rotates the evidence sends it, changes nothing', async () => {
  const deputy = await begin()
  await deputy.reload()
  await deputy.reload()
  expect(await verbose(deputy)).toContain('[+] config revision 1\n')
  expect(deputy.evidence().filter(({ event }) => event.startsWith('config.'))).toEqual([])
})

test('people of another file count at once, and their streams end', async () => {
  const deputy = await begin()
  upstream.handle = (_seen, res) => void res.writeHead(200).write('data: one\n\n')
  ends.push(() => (upstream.handle = null))
  const stream = await fetch(`${deputy.agent}/api.stream.test/s`, {
    headers: { 'deputy-user': 'alice' },
  })
  const { body } = stream
  await body?.getReader().read()
  const people = [{ id: 'bob', groups: ['staff'] }]
  writeFileSync(join(deputy.dir, 'others.yaml'), JSON.stringify({ people }))
  rewrite(deputy, (config) => {
    config['entitlements'] = { source: 'file', file: './others.yaml' }
  })
  await deputy.reload()
  await expect
    .poll(() => metric(deputy, 'http_server_active_requests{http_request_method="GET"}'))
    .toBe(0)
  expect(await call(deputy)).toBe('policy_denied')
})

test('what changed while deputy started counts as well', async () => {
  const folder = await prepareFolder({ upstream: upstream.origin, held: HELD })
  const loaded = await loadFolder(folder)
  const path = join(folder, 'deputy.yaml')
  await expect.poll(() => Date.now()).toBeGreaterThan(loaded.sources.at + 20)
  writeFileSync(path, readFileSync(path, 'utf8').replaceAll('"scopes":["notes"]', '"scopes":[]'))
  const quiet = (): void => undefined
  const serving = await serve(loaded, {
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    print: quiet,
    version: '0',
    read: () => load(path, {}),
  })
  ends.push(async () => {
    await serving.close()
    rmSync(folder, { recursive: true })
  })
  const said = async () =>
    (await fetch(`http://${serving.addresses['admin'] ?? ''}/readyz?verbose`)).text()
  await expect.poll(said, LONG).toContain('config revision 2')
})

test('a drain while the configuration is read ends in time', async () => {
  const deputy = await begin()
  const reloading = deputy.reload()
  await deputy.stop()
  await reloading
  expect(deputy.logged()).not.toContain('closing failed')
})

test('another provider under the name of a connection has nothing of its people, and the one before has it again', async () => {
  const deputy = await begin()
  const connect = async (provider: string): Promise<void> => {
    rewrite(deputy, (config) => {
      const { acme } = config['connections'] as Record<string, Fields>
      config['connections'] = { acme: { ...acme, provider } }
    })
    await deputy.reload()
  }
  await connect('stream')
  const before = upstream.seen.length
  expect(await call(deputy, '/api.stream.test/a')).toBe('consent_required')
  expect(upstream.seen).toHaveLength(before)
  await connect('acme')
  expect(await call(deputy)).toBe('alice')
})

test('the header of workloads is looked for by the listeners, so it cannot change while deputy runs', async () => {
  const deputy = await begin()
  rewrite(deputy, (config) => {
    config['identity'] = { ...(config['identity'] as Fields), agent_header: 'X-Workload' }
  })
  await deputy.reload()
  expect(await verbose(deputy)).toContain('identity.agent_header: cannot change while deputy runs')
})

/** A deputy whose files somebody writes while they are read. */
const readWhile = async (write: (folder: string, reading: number) => void) => {
  const folder = await prepareFolder({ upstream: upstream.origin, held: HELD })
  const path = join(folder, 'deputy.yaml')
  const quiet = (): void => undefined
  let readings = 0
  const serving = await serve(await loadFolder(folder), {
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    print: quiet,
    version: '0',
    read: async () => {
      const result = await load(path, {})
      write(folder, ++readings)
      return result
    },
  })
  ends.push(async () => {
    await serving.close()
    rmSync(folder, { recursive: true })
  })
  const change = (
    of: (config: { connections: Record<string, Fields>; limits?: Fields }) => void,
  ): void => {
    const config = JSON.parse(readFileSync(path, 'utf8')) as { connections: Record<string, Fields> }
    of(config)
    writeFileSync(path, JSON.stringify(config))
  }
  const said = async (): Promise<string> =>
    (await fetch(`http://${serving.addresses['admin'] ?? ''}/readyz?verbose`)).text()
  return { folder, change, said, readings: () => readings, reload: serving.reload }
}

test('what changes while it is read is read again: a text is in force with the secrets of its own moment', async () => {
  const { folder, change, said, reload } = await readWhile((at, reading) => {
    if (reading === 1) writeFileSync(join(at, 'secret'), '')
  })
  writeFileSync(join(folder, 'secret'), 'client-secret-of-acme-0123456789')
  change(({ connections }) => {
    connections['acme'] = { ...connections['acme'], client_secret: '${file:./secret}' }
  })
  await reload()
  expect(await said()).toContain('connections.acme.client_secret')
  expect(await said()).toContain('config revision 1; what its files say now is refused')
})

test('files that never stand still are refused, and what was in force before serves on', async () => {
  const { change, said, readings, reload } = await readWhile((at, reading) => {
    const path = join(at, 'deputy.yaml')
    writeFileSync(path, `${readFileSync(path, 'utf8').trimEnd()}${' '.repeat(reading)}`)
  })
  change((config) => (config.limits = { calls_per_agent: 7 }))
  await reload()
  expect(readings()).toBe(5)
  expect(await said()).toContain('refused: the files change while they are read')
})

test('a hundred signals at one moment are two readings', async () => {
  const { change, said, readings, reload } = await readWhile(() => undefined)
  change((config) => (config.limits = { calls_per_agent: 7 }))
  await Promise.all(Array.from({ length: 100 }, () => reload()))
  expect(await said()).toContain('config revision 2\n')
  expect(readings()).toBeLessThanOrEqual(3)
})

/** Counts what comes and answers with this status. */
const hearing = async (status: number) => {
  let heard = 0
  const server = createServer((req, res) => {
    req.resume()
    heard++
    res.writeHead(status).end()
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  ends.push(() => server.close())
  const webhook = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  return { notify: { webhook, key: 'key-of-a-webhook-0123456789' }, heard: () => heard }
}

test('links go to the webhook of the configuration in force, and no more to the one before', async () => {
  const [before, after] = [await hearing(500), await hearing(200)]
  const connect = { sign_in: 'local', notify: before.notify }
  const deputy = await startDeputy({ upstream: upstream.origin, config: { connect } })
  ends.push(() => deputy.close())
  expect(await call(deputy)).toBe('consent_required')
  await expect.poll(before.heard, LONG).toBeGreaterThan(0)
  rewrite(deputy, (config) => (config['connect'] = { ...connect, notify: after.notify }))
  await deputy.reload()
  const heard = before.heard()
  await expect.poll(after.heard, LONG).toBe(1)
  expect(before.heard()).toBe(heard)
})

test('who the agents are counts as it stands in its file, and a mistake in it changes nothing', async () => {
  const bearer = 'operator-bearer-000000000000000000000'
  const deputy = await begin({
    operators: [{ name: 'me', bearer, may: ['connections'] }],
    agents: './agents.yaml',
  }).catch((error: unknown) => String(error))
  expect(deputy).toMatch(/agents: .*agents\.yaml/)
  const served = await begin({ operators: [{ name: 'me', bearer, may: ['connections'] }] })
  const names = async (): Promise<readonly string[]> => {
    const headers = { authorization: `Bearer ${bearer}` }
    const answer = await fetch(`${served.connect}/v1/admin/agents`, { headers })
    const { items } = (await answer.json()) as { items: readonly { name: string }[] }
    return items.map(({ name }) => name)
  }
  expect(await names()).toEqual([])
  const file = join(served.dir, 'agents.yaml')
  writeFileSync(file, '- { id: laptop, name: Laptop }\n')
  rewrite(served, (config) => void (config['agents'] = './agents.yaml'))
  await served.reload()
  expect(await names()).toEqual(['Laptop'])
  writeFileSync(file, '- { id: laptop, name: "a\\u202eb" }\n')
  await served.reload()
  expect(served.logged()).toContain('agents.yaml: 0.name: has control or bidirectional characters')
  expect(await names()).toEqual(['Laptop'])
  writeFileSync(file, '- { id: laptop, name: Again, logo: ./again.svg }\n')
  writeFileSync(join(served.dir, 'again.svg'), '<svg onload="x()"></svg>')
  await served.reload()
  expect(served.logged()).toMatch(/agents: the logo of laptop: .*is an SVG with a script/)
  // Watched, without a signal.
  writeFileSync(join(served.dir, 'again.svg'), '<svg xmlns="http://www.w3.org/2000/svg"></svg>')
  await expect.poll(names, LONG).toEqual(['Again'])
})

test('issuers that do not answer keep no reload waiting: what they said before counts, and new ones are heard behind it', async () => {
  let silent = false
  const issuer = createServer((_req, res) => {
    if (silent) return
    const metadata = {
      issuer: origin,
      authorization_endpoint: `${origin}/authorize`,
      token_endpoint: `${origin}/token`,
      code_challenge_methods_supported: ['S256'],
    }
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(metadata))
  })
  await new Promise<void>((resolve) => issuer.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}`
  ends.push(() => {
    issuer.closeAllConnections()
    issuer.close()
  })
  const deputy = await begin()
  const add = (name: string, of: string): void =>
    rewrite(deputy, (config) => {
      const hosts = { [`${name}.test`]: upstream.origin }
      const own = { id: name, name, issuer: of, hosts, client_auth: 'none' }
      config['providers'] = [...((config['providers'] ?? []) as object[]), own]
      config['connections'] = {
        ...(config['connections'] as object),
        [name]: { provider: name, client_id: 'c' },
      }
    })
  const heard = (of: string): number => deputy.evidence().filter(({ event }) => event === of).length
  const reloaded = async (): Promise<number> => {
    const began = performance.now()
    await deputy.reload()
    return performance.now() - began
  }
  add('told', origin)
  await reloaded()
  await expect.poll(() => heard('provider.discovered'), LONG).toBe(1)
  silent = true
  rewrite(deputy, (config) => (config['telemetry'] = { log_level: 'warn' }))
  expect(await reloaded()).toBeLessThan(paced(1_500))
  // One that nobody has asked yet gets two seconds to say where it is.
  add('untold', `${origin}/untold`)
  expect(await reloaded()).toBeLessThan(paced(4_000))
  await expect.poll(() => heard('config.reloaded'), LONG).toBe(3)
})
