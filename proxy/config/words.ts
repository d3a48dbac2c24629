// Each key of the configuration in a sentence, with an example as it is written in YAML. From here they come into the
// JSON Schema and into docs/configuration.md; a test wants every key here and reads every example by the schema.
import { z } from 'zod'
import { configSchema } from './schema.ts'

type Words = {
  readonly says: string
  /** YAML; absent where the default or the list of values shows it. */
  readonly example?: string
}
const key = (says: string, example?: string): Words =>
  example === undefined ? { says } : { says, example }
const insecure = key('Lets this entry be plain http to another machine.', 'true')

/** By path: `[]` stands for a place in a list, `NAME` for a name of your own. */
export const WORDS: Readonly<Record<string, Words>> = {
  version: key('The version of this format.', '1'),
  state: key(
    'The one writable folder: what deputy writes is relative to it, what it reads is relative to this file.',
    '/var/lib/deputy',
  ),

  listeners: key('Where deputy listens.'),
  'listeners.agent': key(
    'Where agents send their calls; `unix:PATH` makes a socket of mode 0600.',
    '127.0.0.1:7410',
  ),
  'listeners.agent_tls': key('The same over TLS, for clients that speak https only.'),
  'listeners.agent_tls.listen': key('Its address.', '127.0.0.1:7443'),
  'listeners.agent_tls.cert': key(
    'File of the certificate chain (PEM), looked at for changes.',
    './tls.crt',
  ),
  'listeners.agent_tls.key': key(
    'File of its private key (PEM), looked at for changes.',
    './tls.key',
  ),
  'listeners.admin': key('Probes and metrics: `/livez`, `/readyz`, `/metrics`.', '127.0.0.1:7411'),
  'listeners.connect': key(
    "People's pages and the OAuth callback; `off` where another deputy on the same store serves them.",
    '127.0.0.1:7412',
  ),
  'listeners.operators': key(
    "The operators' API, apart from the pages; needed where `connect` is not on loopback.",
    '127.0.0.1:7413',
  ),
  'listeners.names': key(
    'Further `Host` values that the listeners answer to.',
    '[deputy.agents.svc]',
  ),
  'listeners.origins': key(
    'Origins of browser pages that may call the agent listener.',
    '["https://app.example"]',
  ),
  'listeners.trusted_proxies': key(
    'Addresses and networks of the proxies in front of the connect listener: whose Forwarded and X-Forwarded-For say from where a person comes (in the evidence), and whose X-Forwarded-Host counts as Host. What others say there is not read.',
    '[10.0.0.0/8]',
  ),
  'listeners.extra': key('Agent listeners that stand for one upstream each.'),
  'listeners.extra[].listen': key('Its address.', '127.0.0.1:7420'),
  'listeners.extra[].upstream': key(
    'The host, or `connection@host`, that every call here goes to.',
    'gmail.googleapis.com',
  ),
  'listeners.extra[].user': key(
    'The person that every call here is for; only under `trust: plain`.',
    'alice@example.com',
  ),

  identity: key('How a call names its person.'),
  'identity.trust': key(
    'Must be chosen: `asserted` (tags are signed) or `plain` (any caller may name anybody; loopback only).',
    'asserted',
  ),
  'identity.header': key('The header that carries the tag.'),
  'identity.max_age': key('The longest life of an assertion, from `iat` to `exp`.', '30m'),
  'identity.jwks_grace': key(
    'How long known keys of an issuer serve while it cannot be asked.',
    '10m',
  ),
  'identity.issuers': key('Whose assertions are believed, under `trust: asserted`.'),
  'identity.issuers[].issuer': key(
    'The `iss` of its assertions; its keys are found by OIDC discovery unless told otherwise.',
    'https://idp.example.com',
  ),
  'identity.issuers[].jwks_uri': key(
    'Where its keys are, instead of discovery.',
    'https://idp.example.com/keys',
  ),
  'identity.issuers[].jwks': key('A file with its keys, instead of discovery.', './jwks.json'),
  'identity.issuers[].realm': key('The realm of its people; absent: the issuer.', 'corp'),
  'identity.issuers[].audience': key('The `aud` that an assertion for deputy must have.', 'deputy'),
  'identity.issuers[].user': key("Where the claims name the person's id."),
  'identity.issuers[].agent': key('Where the claims name the agent.'),
  'identity.issuers[].tenant': key(
    'Where the claims name the tenant; absent: one tenant, `default`.',
    '/tenant',
  ),
  'identity.issuers[].tenants': key('The only tenants that this issuer may speak for.', '[acme]'),
  'identity.issuers[].insecure': insecure,
  'identity.agent': key("The agent's name under `trust: plain`.", 'laptop'),
  'identity.realm': key('The realm of names under `trust: plain`.'),

  entitlements: key('What is known about a person besides the tag, asked while the call waits.'),
  'entitlements.source': key(
    'Who is asked: the assertion itself (`claims`) or a `file`; the others are not built yet.',
    'file',
  ),
  'entitlements.file': key('The file of people, looked at for changes.', './people.yaml'),
  'entitlements.claims': key('Where an assertion says what its person is entitled to.'),
  'entitlements.claims.groups': key('Pointer to the groups.'),
  'entitlements.claims.roles': key('Pointer to the roles.'),
  'entitlements.claims.entitlements': key('Pointer to the entitlements.'),
  'entitlements.scim': key('Lets the identity provider push people and groups.'),
  'entitlements.scim.bearer': key(
    'The secret that it pushes with, 32 bytes or more.',
    '"${env:SCIM_BEARER}"',
  ),
  'entitlements.scim.trust_push': key('Takes what was pushed as fresh enough for `0s`.', 'true'),
  'entitlements.http': key('A directory or entitlement service that is asked.', '{}'),
  'entitlements.max_age': key(
    'How old the facts may be that a decision rests on, by the access of the operation.',
  ),
  'entitlements.max_age.read': key('For what only reads.', '0s'),
  'entitlements.max_age.write': key('For what writes.', '0s'),
  'entitlements.max_age.delete': key('For what deletes.', '0s'),
  'entitlements.max_age.admin': key('For what administers.', '0s'),

  policy: key('Who may do what.'),
  'policy.bundle': key(
    'The compiled policy, a file or a folder, looked at for changes.',
    './policies/bundle.tar.gz',
  ),
  'policy.data': key(
    'A folder of tables, looked at for changes; each replaces a whole table of the bundle.',
    './tables',
  ),
  'policy.bundle_auth': key('How deputy shows itself to a bundle service.'),
  'policy.bundle_auth.bearer': key('The secret for it.', '"${env:BUNDLE_TOKEN}"'),
  'policy.verification': key('Whose signature a bundle must have.'),
  'policy.verification.keys': key(
    'Public keys by name.',
    '{ prod: "${file:/etc/deputy/bundle.pub}" }',
  ),
  'policy.unsigned': key('Takes a bundle from a URL without a signature.', 'true'),
  'policy.data_unsigned': key('Takes tables beside a signed bundle.', 'true'),
  'policy.shadow': key(
    'A second bundle that is asked beside the first and only recorded.',
    './candidate.tar.gz',
  ),

  signals: key(
    'Shared Signals transmitters that are listened to.',
    '[{ issuer: "https://idp.example.com" }]',
  ),
  providers: key(
    'Definitions of your own: paths of files, or the definitions themselves (see providers.md).',
    '[./acme.yaml]',
  ),
  'providers[].id': key('The name of a definition that stands here itself.', 'acme'),

  connections: key(
    'What agents may reach, each under a name of `a-z`, `0-9` and `-`; one at least.',
  ),
  'connections.NAME.provider': key('The id of its definition.', 'github'),
  'connections.NAME.client_id': key(
    'The OAuth client that deputy is at the provider.',
    '"${env:GITHUB_CLIENT_ID}"',
  ),
  'connections.NAME.client_secret': key('Its secret.', '"${env:GITHUB_CLIENT_SECRET}"'),
  'connections.NAME.client_key': key(
    'A private key (JWK or PEM) that signs instead of the secret.',
    '"${file:./client.pem}"',
  ),
  'connections.NAME.scopes': key('The most that may ever be asked for.', '[repo, "read:org"]'),
  'connections.NAME.hosts': key(
    "Narrows the provider's hosts (a list), or says where each is reached (a map).",
    '{ api.github.com: "http://127.0.0.1:4101" }',
  ),
  'connections.NAME.issuer': key("Replaces the definition's issuer.", 'https://id.acme.example'),
  'connections.NAME.authorize': key(
    "Replaces the definition's authorization endpoint.",
    'https://github.corp/login/oauth/authorize',
  ),
  'connections.NAME.token': key(
    "Replaces the definition's token endpoint.",
    'https://github.corp/login/oauth/access_token',
  ),
  'connections.NAME.userinfo': key(
    "Replaces the definition's endpoint that tells whose account it is.",
    'https://github.corp/api/v3/user',
  ),
  'connections.NAME.revoke': key(
    "Replaces the definition's revocation endpoint.",
    'https://github.corp/api/v3/applications/x/grant',
  ),
  'connections.NAME.slot': key('Which kind of token, where one app has several.', 'bot'),
  'connections.NAME.insecure': insecure,

  vault: key('Where grants are kept.'),
  'vault.store': key(
    '`sqlite:PATH`, or `postgres://user:password@host:5432/database`.',
    '"${env:DATABASE_URL:-sqlite:deputy.db}"',
  ),
  'vault.keys': key(
    'The key ring that `deputy keygen` makes, looked at for changes.',
    './keys.json',
  ),
  'vault.spool': key('Folder for sealed tokens that the store does not take yet.'),

  connect: key('How people give and withdraw their consent.'),
  'connect.url': key(
    "Where people's browsers reach the connect listener; absent: its own address on localhost.",
    'https://deputy.example.com',
  ),
  'connect.hold': key(
    'How long a call that only its person can help waits, where the caller says nothing.',
    '60s',
  ),
  'connect.link_ttl': key('How long a link lives.', '8h'),
  'connect.nag_after': key('How long a No stands before the same is asked again.', '1d'),
  'connect.brand': key('Whose pages these are.'),
  'connect.brand.name': key('The name that they show.', 'Acme'),
  'connect.brand.logo': key('A PNG or SVG file of at most 64 KiB.', './logo.svg'),
  'connect.brand.support': key(
    'Where people find help: an `https:` or `mailto:` address.',
    'https://help.example',
  ),
  'connect.return_to': key('Origins that `next_uri` may name.', '["https://app.example"]'),
  'connect.sign_in': key(
    'Who is at the page: your OpenID provider, or the word `local` on a laptop.',
  ),
  'connect.sign_in.issuer': key('The OpenID provider.', 'https://idp.example.com'),
  'connect.sign_in.client_id': key('The client that the pages are there.', 'deputy-pages'),
  'connect.sign_in.client_secret': key('Its secret.', '"${env:PAGES_SECRET}"'),
  'connect.sign_in.scope': key('The scopes that are asked for at sign-in.', '"openid profile"'),
  'connect.sign_in.user': key("Where its claims name the person's id."),
  'connect.sign_in.tenant': key('Where its claims name the tenant; absent: `default`.', '/tenant'),
  'connect.sign_in.realm': key('The realm of its people; absent: the issuer.', 'corp'),
  'connect.sign_in.insecure': insecure,
  'connect.verifier': key('Your own application says who is at the page, instead of `sign_in`.'),
  'connect.verifier.url': key(
    'Its page that the browser is sent to.',
    'https://app.example/verify',
  ),
  'connect.verifier.key': key(
    'The secret, 32 bytes or more, that opens `confirm_user`.',
    '"${env:VERIFIER_KEY}"',
  ),
  'connect.notify': key('Posts each new link to your application, which delivers it.'),
  'connect.notify.webhook': key('Where to.', 'https://app.example/hooks/deputy'),
  'connect.notify.key': key(
    'The secret that signs; `whsec_` and base64, or any other text.',
    '"${env:HOOK_KEY}"',
  ),

  operators: key("Who may use the operators' API."),
  'operators[].name': key('The name that the evidence shows.', 'backend'),
  'operators[].bearer': key('The secret, 32 bytes or more.', '"${env:OPERATOR_TOKEN}"'),
  'operators[].may': key(
    'What this operator may do, of `runs`, `connections` and `revoke`.',
    '[runs, connections]',
  ),
  'operators[].tenants': key('For which tenants; absent: all.', '[acme]'),
  runs: key('Run tokens: jobs that act for a person while nobody is there.'),
  'runs.max': key('The longest life of a run token.', '12h'),

  audit: key('The evidence.'),
  'audit.sink': key(
    'Where it goes: `stdout` or `file:PATH`; `otlp` is not built yet.',
    '["file:audit.jsonl"]',
  ),
  'audit.spool': key('Keeps evidence until a sink that is no file has it.', './spool'),
  'audit.fsync': key(
    'When it is forced to the disk: `never`, `each` record, or every so long.',
    'each',
  ),
  'audit.required': key('A call whose record cannot be written does not leave.', 'false'),
  'audit.user_ids': key(
    'People in the evidence as they are, or `hashed` under a key of the ring.',
    'hashed',
  ),
  'audit.inputs': key('Keeps what policy was asked, sealed.', 'sealed'),
  'audit.rotate': key(
    'When the file is closed under another name: at 256MiB and once a day unless told; `off` where somebody else rotates.',
  ),
  'audit.rotate.size': key('At which size; absent: 256MiB.', '1GiB'),
  'audit.rotate.every': key('How often at least; absent: 1d.', '1h'),
  'audit.retention': key('After which time closed files are removed; absent: 400d.', '90d'),

  telemetry: key('What deputy says about itself.'),
  'telemetry.otlp': key('The collector.', 'http://127.0.0.1:4318'),
  'telemetry.log_level': key('From which level on lines are logged.', 'warn'),

  upstream: key('How providers are reached.'),
  'upstream.ca': key(
    "A file of further certificate authorities (PEM) beside the system's.",
    './ca.pem',
  ),
  'upstream.proxy': key('A proxy that every connection goes through.', 'http://egress.corp:3128'),
  'upstream.no_proxy': key('Hosts that are reached without it.', '[git.corp]'),
  'upstream.connect_timeout': key('How long a connection may take to open.', '10s'),
  'upstream.idle_timeout': key('How long a provider may send nothing.', '5m'),

  network: key('Which addresses may be dialled.'),
  'network.allow_private': key('Private addresses that are meant.'),
  'network.allow_private[].host': key('Only for this host; absent: for every one.', 'git.corp'),
  'network.allow_private[].net': key('The network.', '10.1.0.0/16'),

  limits: key('Bounds of what one call, one agent and one process may use.'),
  'limits.drain': key('How long calls may still end after SIGTERM.', '60s'),
  'limits.drain_delay': key(
    'How long calls are still accepted after SIGTERM, while /readyz says that deputy drains: for a gateway whose balancer needs that long to hear of it. The drain follows.',
    '5s',
  ),
  'limits.request_body': key('The largest body that is sent on.', '1GiB'),
  'limits.inspected_body': key('The largest body that is read before it is sent on.', '4MiB'),
  'limits.rewritten_body': key('The largest answer in which URLs are rewritten, unpacked.', '8MiB'),
  'limits.policy_input': key('The largest input of a policy.', '64KiB'),
  'limits.headers': key('All headers of a request together.', '16KiB'),
  'limits.held_calls': key('How many calls may wait for a person at once.', '100'),
  'limits.held_bytes': key('What their bodies may take together.', '16MiB'),
  'limits.hold_max': key('The longest that a call may wait, whatever it asks for.', '5m'),
  'limits.calls': key('How many calls may run at once.', '2000'),
  'limits.calls_per_agent': key('How many of one agent.', '200'),
}

type Json = { [member: string]: unknown }
const isJson = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Every key in a JSON Schema of the configuration, by its path, in the order in which it is written. */
export const keysOf = (schema: unknown, path = ''): readonly (readonly [string, Json])[] => {
  if (!isJson(schema)) return []
  const { anyOf, properties, items, additionalProperties: named } = schema
  if (Array.isArray(anyOf)) return anyOf.flatMap((each) => keysOf(each, path))
  if (isJson(properties))
    return Object.entries(properties).flatMap(([name, value]) => {
      const at = path === '' ? name : `${path}.${name}`
      return isJson(value) ? [[at, value] as const, ...keysOf(value, at)] : []
    })
  return isJson(items) ? keysOf(items, `${path}[]`) : keysOf(named, `${path}.NAME`)
}

/** The same schema with a sentence at every key that has one. */
const worded = (schema: object): object => {
  for (const [path, at] of keysOf(schema)) {
    const words = Object.hasOwn(WORDS, path) ? WORDS[path] : undefined
    if (words !== undefined) at['description'] = words.says
  }
  return schema
}

/** JSON Schema (draft 2020-12) of what people write. */
export const configJsonSchema = (): object =>
  worded(z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' }))
