// Each key of the configuration in a sentence, with an example as it is written in YAML. From here they come into the
// JSON Schema and into docs/configuration.md; a test wants every key here and reads every example by the schema.
import { z } from 'zod'
import { isObject } from '../wire/json.ts'
import { configSchema } from './schema.ts'

type Words = {
  readonly says: string
  /** YAML; absent where the default or the list of values shows it. */
  readonly example?: string
}
const key = (says: string, example?: string): Words =>
  example === undefined ? { says } : { says, example }
const insecure = key('Allows plain http to another machine for this entry.', 'true')

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
  'listeners.agent_tls': key('The agent listener over TLS, for clients that speak https only.'),
  'listeners.agent_tls.listen': key('The address of this listener.', '127.0.0.1:7443'),
  'listeners.agent_tls.cert': key(
    'File of the certificate chain (PEM); read again when it changes.',
    './tls.crt',
  ),
  'listeners.agent_tls.key': key(
    'File of the private key (PEM); read again when it changes.',
    './tls.key',
  ),
  'listeners.agent_tls.client_ca': key(
    'File of the authorities (PEM) whose client certificates name agents, by the rows of `workloads` with `certificate`; read again when it changes.',
    './agents-ca.crt',
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
  'listeners.extra[].listen': key('The address of this listener.', '127.0.0.1:7420'),
  'listeners.extra[].upstream': key(
    'The host, or `connection@host`, that every call to this listener goes to.',
    'gmail.googleapis.com',
  ),
  'listeners.extra[].user': key(
    'The person that every call to this listener is for; only with `trust: plain`.',
    'alice@example.com',
  ),

  identity: key('How a call names its person.'),
  'identity.trust': key(
    'Must be chosen: `asserted` (tags are signed) or `plain` (any caller may name anybody; loopback only).',
    'asserted',
  ),
  'identity.header': key('The header that carries the tag.'),
  'identity.agent_header': key(
    "The header that carries a workload's own token, which names the agent; it never reaches a provider.",
  ),
  'identity.agent_required': key(
    'Where `workloads` has rows: a call without such a token is refused. With `false` its agent is whom the tag names.',
    'false',
  ),
  'identity.max_age': key('The longest life of an assertion, from `iat` to `exp`.', '30m'),
  'identity.jwks_grace': key(
    'How long known keys of an issuer serve while it cannot be asked.',
    '10m',
  ),
  'identity.issuers': key('The issuers whose assertions are believed, with `trust: asserted`.'),
  'identity.issuers[].issuer': key(
    'The `iss` of the assertions; the keys are found by OIDC discovery, unless `jwks_uri` or `jwks` is there.',
    'https://idp.example.com',
  ),
  'identity.issuers[].jwks_uri': key(
    'The URL of the keys, instead of discovery.',
    'https://idp.example.com/keys',
  ),
  'identity.issuers[].jwks': key('A file with the keys, instead of discovery.', './jwks.json'),
  'identity.issuers[].realm': key(
    'The realm of the people whom this issuer names; absent: the issuer.',
    'corp',
  ),
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

  entitlements: key('Where deputy learns what a person is entitled to, while the call waits.'),
  'entitlements.source': key(
    'What is asked: the assertion itself (`claims`), a `file`, a directory (`http`, `ldap`), or what an identity provider pushed (`scim`).',
    'file',
  ),
  'entitlements.sources': key(
    'Several sources instead of one: a person is active only if all say so, and has the groups, roles and entitlements of all.',
    '[file, http]',
  ),
  'entitlements.file': key('The file of people; read again when it changes.', './people.yaml'),
  'entitlements.claims': key(
    'With `source: claims`: where an assertion says what its person is entitled to.',
  ),
  'entitlements.claims.groups': key('Where the groups are.'),
  'entitlements.claims.roles': key('Where the roles are.'),
  'entitlements.claims.entitlements': key('Where the entitlements are.'),
  'entitlements.scim': key('Lets the identity provider push people and groups.'),
  'entitlements.scim.bearer': key(
    'The secret that it pushes with, 32 bytes or more; a list of two while one is replaced by the other.',
    '"${env:SCIM_BEARER}"',
  ),
  'entitlements.scim.user': key(
    'The attribute of a user that is the person’s id, as tags name it.',
    'userName',
  ),
  'entitlements.scim.tenant': key(
    'Whose people are pushed; needed where `identity` knows several tenants.',
    'default',
  ),
  'entitlements.scim.realm': key(
    'The realm of these people; needed where `identity` knows several.',
    'https://idp.example.com',
  ),
  'entitlements.scim.trust_push': key('Takes what was pushed as fresh enough for `0s`.', 'true'),
  'entitlements.http': key('With `http`: the directory or entitlement service that is asked.'),
  'entitlements.http.preset': key(
    'Whose it is; `none` is described by the keys below.',
    'keycloak',
  ),
  'entitlements.http.url': key(
    'The server; with `preset: none` the address about one person, with `{id}` in it, and `{tenant}` if it needs that.',
    'https://idp.example.com',
  ),
  'entitlements.http.realm': key("Keycloak's realm.", 'corp'),
  'entitlements.http.tenant': key("Entra's tenant, its id or a domain.", 'acme.onmicrosoft.com'),
  'entitlements.http.by': key(
    "What a tag's user id is there: the directory's own id, the user name, or the address. It must be the same to the letter.",
    'name',
  ),
  'entitlements.http.people_realm': key(
    'Whose people it knows: the realm of an issuer; absent: that of the first one. Everybody else is nobody.',
    'corp',
  ),
  'entitlements.http.client_id': key(
    'The client that deputy asks as; with `google` the address of its service account.',
    'deputy-reader',
  ),
  'entitlements.http.client_secret': key(
    'The secret with which it gets its token.',
    '"${env:READER_SECRET}"',
  ),
  'entitlements.http.client_key': key(
    'A private key in its place: a JWK or PEM.',
    '"${file:./client.pem}"',
  ),
  'entitlements.http.bearer': key(
    'A token in place of a client, shown as it is; with `okta` an API token.',
    '"${env:DIRECTORY_TOKEN}"',
  ),
  'entitlements.http.subject': key(
    'With `google`: the administrator for whom the service account speaks.',
    'admin@example.com',
  ),
  'entitlements.http.token': key(
    'Where the client gets its token, where the preset does not know.',
    'https://idp.example.com/oauth/token',
  ),
  'entitlements.http.scope': key('What its token is asked for.', 'directory.read'),
  'entitlements.http.timeout': key(
    'How long one question may take, with all its pages; then the call is refused.',
    '3s',
  ),
  'entitlements.http.follow': key(
    'With `preset: keycloak`: what administrators change there is looked for every second, and what was known of those people counts no more.',
    'admin_events',
  ),
  'entitlements.http.method': key('With `preset: none`: how it is asked; absent: `GET`.', 'POST'),
  'entitlements.http.body': key(
    'With `method: POST`: the JSON that is sent; its texts may hold `{id}` and `{tenant}`.',
    '{ user: "{id}" }',
  ),
  'entitlements.http.id': key(
    'Where the answer names the person, who must be the one asked about.',
    '/id',
  ),
  'entitlements.http.active': key(
    'Where `true` says that the person is active; absent: whoever is there is.',
    '/active',
  ),
  'entitlements.http.groups': key(
    'Where the groups are; `*` is every item of a list.',
    '/groups/*/name',
  ),
  'entitlements.http.roles': key('Where the roles are, in the same way.', '/roles'),
  'entitlements.http.entitlements': key('Where the entitlements are, in the same way.', '/rights'),
  'entitlements.http.manager': key('Where the id of the manager is.', '/manager'),
  'entitlements.http.next': key(
    'Where a page names the next one; absent: in its `Link` header.',
    '/next',
  ),
  'entitlements.http.insecure': insecure,
  'entitlements.ldap': key('With `ldap`: the directory that is asked.'),
  'entitlements.ldap.preset': key(
    'Whose it is: what the keys below are when they are absent, and how it says that an account is disabled.',
    'active_directory',
  ),
  'entitlements.ldap.url': key('The server.', 'ldaps://ldap.example.com'),
  'entitlements.ldap.starttls': key('Begins TLS on an `ldap://` connection.'),
  'entitlements.ldap.ca': key(
    'A PEM file of further authorities, for this server alone.',
    './ldap-ca.pem',
  ),
  'entitlements.ldap.bind': key('Who deputy is there.'),
  'entitlements.ldap.bind.dn': key('The name of its entry.', 'cn=deputy,dc=example,dc=com'),
  'entitlements.ldap.bind.password': key('Its password.', '${env:LDAP_SECRET}'),
  'entitlements.ldap.base': key(
    'Below which people are, and groups too unless `groups_base` says otherwise.',
    'dc=example,dc=com',
  ),
  'entitlements.ldap.user': key(
    'The filter that finds one person; `{id}` is who is asked about.',
    '(uid={id})',
  ),
  'entitlements.ldap.id': key(
    'The attribute that must be the id that was asked about, to the letter.',
    'uid',
  ),
  'entitlements.ldap.groups': key(
    'The filter that finds the groups of one person, by `{dn}` or `{id}`; `memberOf` reads that attribute instead.',
    '(member={dn})',
  ),
  'entitlements.ldap.groups_base': key('Below which groups are.', 'ou=groups,dc=example,dc=com'),
  'entitlements.ldap.group_name': key(
    'The attribute that names a group in policy; `dn` is its whole name.',
    'dn',
  ),
  'entitlements.ldap.people_realm': key(
    'Whose people it knows: a realm of `identity`; absent: the first.',
    'corp',
  ),
  'entitlements.ldap.timeout': key(
    'How long one question may take, with all its searches; then the call is refused.',
    '3s',
  ),
  'entitlements.ldap.insecure': key(
    'Allows the password to go unencrypted to another machine.',
    'true',
  ),
  'entitlements.checks': key(
    'Questions to an authorization service about each very call; the answers are `user.checks` for policy. A list, or one alone.',
  ),
  'entitlements.checks[].name': key(
    'What policy calls it; absent, with `openfga`: the relation.',
    'can_edit',
  ),
  'entitlements.checks[].preset': key('The kind of service; `none`: another one.', 'openfga'),
  'entitlements.checks[].url': key(
    'Where it is; with `none` with the values of the call in `{}`.',
    'https://fga.example.com',
  ),
  'entitlements.checks[].store': key('With `openfga`: its store.', '01JD0000000000000000000000'),
  'entitlements.checks[].model': key(
    'With `openfga`: the id of its authorization model; absent: the newest.',
    '01JE0000000000000000000000',
  ),
  'entitlements.checks[].user': key('With `openfga`: who.', '"user:{id}"'),
  'entitlements.checks[].relation': key('With `openfga`: what they must be.', 'can_edit'),
  'entitlements.checks[].object': key(
    'With `openfga`: of what.',
    '"repo:{path.owner}/{path.repo}"',
  ),
  'entitlements.checks[].method': key('With `none`: how it is asked; absent: `GET`.', 'POST'),
  'entitlements.checks[].body': key(
    'With `none` and `POST`: what is sent as JSON, with the values of the call in `{}`.',
    '{ who: "{id}", what: "{operation}" }',
  ),
  'entitlements.checks[].answer': key(
    'With `none`: where its answer says `true` or `false`.',
    '/allowed',
  ),
  'entitlements.checks[].operations': key(
    'The operations that it is asked about, by id or family; absent: all.',
    '["issues.*"]',
  ),
  'entitlements.checks[].bearer': key(
    'The bearer token that deputy shows there.',
    '"${env:FGA_TOKEN}"',
  ),
  'entitlements.checks[].client_id': key(
    'The client with which deputy gets its own token instead.',
    'deputy',
  ),
  'entitlements.checks[].client_secret': key('Its secret.', '"${env:FGA_SECRET}"'),
  'entitlements.checks[].client_key': key(
    'Its private key instead of a secret.',
    '"${file:./client.pem}"',
  ),
  'entitlements.checks[].token': key(
    'Where that client gets its token.',
    'https://idp.example.com/oauth/token',
  ),
  'entitlements.checks[].scope': key('What its token is asked for.', 'checks'),
  'entitlements.checks[].timeout': key(
    'How long one question may take; then the call is refused.',
    '1s',
  ),
  'entitlements.checks[].insecure': insecure,
  'entitlements.max_age': key(
    'How old the facts behind a decision may be, by what kind of access the operation is. `0s`, the default: the source is asked after the call came.',
  ),
  'entitlements.max_age.read': key('For operations that only read.', '0s'),
  'entitlements.max_age.write': key('For operations that write.', '0s'),
  'entitlements.max_age.delete': key('For operations that delete.', '0s'),
  'entitlements.max_age.admin': key('For operations that administer.', '0s'),

  policy: key('Who may do what.'),
  'policy.bundle': key(
    'The compiled policy, a file or a folder, loaded again when it changes; or the URL of a bundle at a bundle service.',
    './policies/bundle.tar.gz',
  ),
  'policy.data': key(
    'A folder of tables, loaded again when it changes; each file replaces a whole table of the bundle.',
    './tables',
  ),
  'policy.bundle_auth': key('How deputy authenticates itself to a bundle service.'),
  'policy.bundle_auth.bearer': key(
    'The bearer token for the bundle service; no redirect takes it elsewhere.',
    '"${env:BUNDLE_TOKEN}"',
  ),
  'policy.bundle_poll': key(
    'The least time between questions to a bundle service, the most is twice that; absent: 60s. With long polling a question follows the answer.',
    '30s',
  ),
  'policy.verification': key('Whose signature a bundle must have, also a file or a folder.'),
  'policy.verification.keys': key(
    'Public keys (PEM) by the id that a signature names them by; its kind says which algorithms a key verifies, and none is a shared secret.',
    '{ prod: "${file:/etc/deputy/bundle.pub}" }',
  ),
  'policy.verification.scope': key('The `scope` that a signature must have; absent: none.', 'prod'),
  'policy.unsigned': key('Takes a bundle from a URL without a signature.', 'true'),
  'policy.data_unsigned': key('Takes tables beside a signed bundle.', 'true'),
  'policy.allow_rollback': key(
    'Takes a bundle that was signed before the one in use (`iat`), or that does not say when.',
    'true',
  ),
  'policy.insecure': key('Allows plain http to a bundle service on another machine.', 'true'),
  'policy.shadow': key(
    'A second bundle, a file or a folder, asked beside the first with the same tables; its answers are counted and recorded, and have no effect.',
    './candidate.tar.gz',
  ),

  signals: key('Shared Signals transmitters that deputy listens to (see signals.md).'),
  'signals[].issuer': key('Who signs the events.', 'https://idp.example.com'),
  'signals[].audience': key(
    'What events for deputy have as `aud`: one value or a list. With `manage` the stream says it.',
    'deputy',
  ),
  'signals[].push': key('Events may be pushed to `/signals` of the connect listener.', 'true'),
  'signals[].poll': key(
    'Where events wait, in place of a push or beside it.',
    'https://idp.example.com/ssf/poll',
  ),
  'signals[].manage': key(
    'Whether deputy makes the stream at the transmitter, keeps it enabled and asks for verification; without `push` its events are polled.',
    'false',
  ),
  'signals[].bearer': key('The bearer token for `poll` and `manage`.', '"${env:SIGNALS_TOKEN}"'),
  'signals[].client_id': key(
    'In place of `bearer`: the client as which deputy gets its own token there.',
    'deputy-signals',
  ),
  'signals[].client_secret': key('The secret of that client.', '"${env:SIGNALS_SECRET}"'),
  'signals[].token': key(
    'Where that client gets its token.',
    'https://idp.example.com/oauth/token',
  ),
  'signals[].scope': key('The scopes of that token.', 'ssf.manage ssf.read'),
  'signals[].jwks_uri': key(
    'The keys of the issuer, where its OpenID discovery does not name them.',
    'https://idp.example.com/ssf/jwks',
  ),
  'signals[].user': key(
    'Where in the subject the id of the person is; without, `sub`, `email`, `id` or `uri`, by the format of the subject.',
    '/sub',
  ),
  'signals[].realm': key(
    'The realm of its people; without, the one of `identity.issuers` of the same issuer.',
    'corp',
  ),
  'signals[].tenant': key(
    'The tenant of its people; without, those of `identity.issuers` of the same issuer.',
    'acme',
  ),
  'signals[].insecure': key('Allows plain http to another machine.', 'true'),
  providers: key(
    'Definitions of your own: paths of files, or the definitions themselves (see providers.md).',
    '[./acme.yaml]',
  ),
  'providers[].id': key(
    'The id of a definition that is written here instead of in a file.',
    'acme',
  ),

  connections: key(
    'The providers that agents may reach, each under a name of `a-z`, `0-9` and `-`; at least one.',
  ),
  'connections.NAME.provider': key("The id of the provider's definition.", 'github'),
  'connections.NAME.client_id': key(
    "The id of deputy's OAuth client at the provider.",
    '"${env:GITHUB_CLIENT_ID}"',
  ),
  'connections.NAME.client_secret': key(
    'The secret of that client.',
    '"${env:GITHUB_CLIENT_SECRET}"',
  ),
  'connections.NAME.client_key': key(
    'A private key (JWK or PEM) that signs assertions, instead of a secret.',
    '"${file:./client.pem}"',
  ),
  'connections.NAME.client_cert': key(
    'The certificate that deputy shows this provider (mutual TLS). The files are looked at for changes.',
  ),
  'connections.NAME.client_cert.cert': key(
    'A PEM file of the certificate, with those between it and its authority.',
    './client.crt',
  ),
  'connections.NAME.client_cert.key': key('A PEM file of its private key.', './client.key'),
  'connections.NAME.ca': key(
    'A file of further certificate authorities (PEM), for this connection only.',
    './acme-ca.pem',
  ),
  'connections.NAME.scopes': key('The most that may ever be asked for.', '[repo, "read:org"]'),
  'connections.NAME.operations': key(
    'Calls that the catalogue does not name: your id for each, the access that it means, and the call. A consent asks for all `scopes` of the connection.',
    "{ reports.get: 'read GET /v1/reports/{id}' }",
  ),
  'connections.NAME.hosts': key(
    "Only these of the provider's hosts (a list), or where each is reached (a map).",
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
    "Replaces the definition's userinfo endpoint, which tells whose account it is.",
    'https://github.corp/api/v3/user',
  ),
  'connections.NAME.revoke': key(
    "Replaces the definition's revocation endpoint.",
    'https://github.corp/api/v3/applications/x/grant',
  ),
  'connections.NAME.slot': key(
    'Which kind of token this connection uses, where one app has several.',
    'bot',
  ),
  'connections.NAME.insecure': insecure,

  vault: key('Where grants are kept, sealed.'),
  'vault.store': key(
    '`sqlite:PATH`, or `postgres://user:password@host:5432/database`.',
    '"${env:DATABASE_URL:-sqlite:deputy.db}"',
  ),
  'vault.keys': key(
    'The key ring that `deputy keygen` makes; read again when it changes.',
    './keys.json',
  ),
  'vault.kms': key(
    'A program that wraps and unwraps the keys of the ring (docs/operate/kms.md); absent: the file is the secret.',
    'exec:/usr/local/bin/wrap',
  ),
  'vault.spool': key('Folder for sealed tokens that the store does not take yet.'),

  connect: key('How people give and withdraw their consent.'),
  'connect.url': key(
    "Where people's browsers reach the connect listener; absent: its own address on localhost.",
    'https://deputy.example.com',
  ),
  'connect.hold': key(
    'How long a call waits for its person where only they can help it and the caller does not say.',
    '60s',
  ),
  'connect.link_ttl': key('How long a link works.', '8h'),
  'connect.nag_after': key('How long after a no of the person the same is not asked again.', '1d'),
  'connect.brand': key('Whose name and mark the pages show.'),
  'connect.brand.name': key('The name of your organisation.', 'Acme'),
  'connect.brand.logo': key('A PNG or SVG file of at most 64 KiB.', './logo.svg'),
  'connect.brand.support': key(
    'Where people find help: an `https:` or `mailto:` address.',
    'https://help.example',
  ),
  'connect.return_to': key(
    'Origins that people may be sent back to after a consent (`next_uri`).',
    '["https://app.example"]',
  ),
  'connect.sign_in': key(
    'What tells who is at the page: your OpenID provider, or the word `local` on a laptop.',
  ),
  'connect.sign_in.issuer': key('The OpenID provider.', 'https://idp.example.com'),
  'connect.sign_in.client_id': key("The client id of deputy's pages there.", 'deputy-pages'),
  'connect.sign_in.client_secret': key('The secret of that client.', '"${env:PAGES_SECRET}"'),
  'connect.sign_in.scope': key('The scopes that the pages ask for at sign-in.', '"openid profile"'),
  'connect.sign_in.user': key("Where the claims of the ID token name the person's id."),
  'connect.sign_in.tenant': key(
    'Where the claims of the ID token name the tenant; absent: `default`.',
    '/tenant',
  ),
  'connect.sign_in.realm': key(
    'The realm of the people who sign in there; absent: the issuer.',
    'corp',
  ),
  'connect.sign_in.insecure': insecure,
  'connect.verifier': key('Your own application tells who is at the page, instead of `sign_in`.'),
  'connect.verifier.url': key(
    'The page of your application that the browser is sent to.',
    'https://app.example/verify',
  ),
  'connect.verifier.key': key(
    'The secret, 32 bytes or more, with which your backend calls `confirm_user`.',
    '"${env:VERIFIER_KEY}"',
  ),
  'connect.notify': key('Posts each new link to your application, which delivers it.'),
  'connect.notify.webhook': key(
    'The URL that each link is posted to.',
    'https://app.example/hooks/deputy',
  ),
  'connect.notify.key': key(
    'The secret that signs each post; `whsec_` and base64, or any other text.',
    '"${env:HOOK_KEY}"',
  ),

  hooks: key(
    'Services of your own that judge the calls that policy allows: they may refuse and redact, never allow.',
  ),
  'hooks[].name': key('What the evidence, the metrics and refusals call it.', 'dlp'),
  'hooks[].when': key(
    '`before`: asked before a call leaves; `after`: shown its answer, which waits for what it says.',
    'before',
  ),
  'hooks[].url': key('Where the questions are posted.', 'https://dlp.example/deputy'),
  'hooks[].key': key(
    'The secret that signs each question; `whsec_` and base64, or any other text.',
    '"${env:DLP_KEY}"',
  ),
  'hooks[].operations': key(
    'The operations that it judges, by id or family; absent: all.',
    '["issues.*"]',
  ),
  'hooks[].timeout': key(
    'How long one question may take, 10 s at most; then the call is refused.',
    '1s',
  ),
  'hooks[].insecure': insecure,

  operators: key("Who may use the operators' API."),
  'operators[].name': key('The name that the evidence shows.', 'backend'),
  'operators[].bearer': key(
    'The secret, 32 bytes or more; or a list of two, so that one can be changed while both serve.',
    '["${file:./operator.new}", "${file:./operator.old}"]',
  ),
  'operators[].may': key(
    'What this operator may do, of `runs`, `connections` and `revoke`.',
    '[runs, connections]',
  ),
  'operators[].tenants': key('For which tenants; absent: all.', '[acme]'),
  agents: key(
    'Who the agents are: a file with a list of rows, or the list itself. Pages show it; an agent without a row is shown by its id, as unknown to the organisation.',
    './agents.yaml',
  ),
  'agents[].id': key('The agent, as its calls name it.', 'agent:triage'),
  'agents[].name': key('Its name on the pages; absent: its id.', 'Triage'),
  'agents[].owner': key(
    'The person who may switch it off, by their id; where identity knows several tenants or realms, by all three parts.',
    'alice@acme.example',
  ),
  'agents[].owner.id': key('Their id.', 'alice@acme.example'),
  'agents[].owner.tenant': key('Their tenant, where there are several.', 'acme'),
  'agents[].owner.everywhere': key(
    'Their switch is for every tenant; else, where there are several, for their own alone.',
    'true',
  ),
  'agents[].owner.realm': key('Their realm, where there are several.', 'corp'),
  'agents[].logo': key(
    'A PNG or SVG file of at most 64 KiB; in a file of rows relative to that file.',
    './triage.svg',
  ),
  'agents[].contact': key(
    'Where people ask about it, beginning with https:// or mailto:.',
    'mailto:triage@acme.example',
  ),
  'agents[].workload': key('What it runs as; shown only.', 'cluster'),
  applications: key(
    'Backends that name any of their own users by one key, under `trust: asserted`. A user still consents, for that agent.',
  ),
  'applications[].name': key('What the evidence and policy call it (`user.asserted_by`).', 'crm'),
  'applications[].bearer': key(
    'The key, 32 to 512 letters, digits and `._~+/=-`; or a list of two, while one is changed for the next.',
    '"${env:CRM_KEY}"',
  ),
  'applications[].workload': key(
    'Instead of a bearer: the row of `workloads` whose token, as `Deputy-Agent`, is the key.',
    'crm',
  ),
  'applications[].agent': key('The agent of all its calls.', 'agent:crm'),
  'applications[].realm': key(
    'The realm of its people; absent: that of `connect.sign_in`, so that whom it names and who signs in are one person; else that of the first issuer, else `identity.realm`.',
    'corp',
  ),
  'applications[].tenants': key(
    'Of which tenants its people are; absent: one, `default`. Where there are several, each call says which as `Deputy-Tenant`.',
    '[acme]',
  ),
  'applications[].people': key(
    'Whom it may name: ids, in which `*` stands for any characters.',
    '["*@acme.example"]',
  ),
  tenants: key(
    'What each tenant may use at most; what is absent is not bounded. Where the key is there, every tenant that `identity` names has a row; an empty one (`{}`) has no bounds.',
  ),
  'tenants.NAME.people': key(
    'How many persons may have something stored. Nobody else is given a link.',
    '200',
  ),
  'tenants.NAME.connections': key(
    'How many connected accounts may be stored. Beyond them only what is there can be renewed.',
    '1000',
  ),
  'tenants.NAME.calls_per_minute': key(
    'How many calls its agents may make in a minute, in each process of deputy.',
    '6000',
  ),
  operators_sign_in: key(
    "People who use the operators' API as themselves, by tokens of the organisation's OpenID provider (`deputy login`).",
  ),
  'operators_sign_in.issuer': key('The OpenID provider.', 'https://idp.example.com'),
  'operators_sign_in.client_id': key(
    'The public client of `deputy login` there, which may use the device flow.',
    'deputy-ops',
  ),
  'operators_sign_in.scope': key(
    'The scopes that `deputy login` asks for.',
    '"openid groups offline_access"',
  ),
  'operators_sign_in.audience': key(
    'The `aud` of access tokens for deputy; absent: ID tokens of `client_id` are taken instead.',
    'deputy',
  ),
  'operators_sign_in.roles': key(
    'Where the claims list the groups that the table `operator_roles` turns into roles.',
    '/groups',
  ),
  'operators_sign_in.user': key('Where the claims name the person.', '/preferred_username'),
  'operators_sign_in.tenant': key(
    'Where the claims name the tenants that the person serves, a text or a list; absent: all.',
    '/tenants',
  ),
  'operators_sign_in.realm': key(
    'The name of the issuer in the evidence, instead of its URL.',
    'corp',
  ),
  'operators_sign_in.max_age': key('The longest life of a token.'),
  'operators_sign_in.break_glass': key(
    'For how long after the sign-in the role `break-glass` may be used.',
  ),
  'operators_sign_in.console': key(
    'Whether these operators have [the console](console.md) at `/console`.',
    'false',
  ),
  'operators_sign_in.url': key(
    "Where operators' browsers reach `listeners.operators`: with it the console is there, and no longer at the connect listener.",
    'https://deputy-ops.corp.example',
  ),
  'operators_sign_in.insecure': insecure,
  workloads: key(
    "Which agent a call is from, by the calling workload's own token in `identity.agent_header` or by its client certificate; the first row that matches counts. A row has one of `issuer`, `spiffe` and `certificate`.",
  ),
  'workloads[].name': key('What the evidence and policy call it.', 'cluster'),
  'workloads[].issuer': key(
    'The `iss` of the token; in Kubernetes the issuer of service accounts. Its keys are found by OIDC discovery unless told otherwise.',
    'https://kubernetes.default.svc.cluster.local',
  ),
  'workloads[].jwks_uri': key(
    'Where its keys are, instead of discovery.',
    'https://kubernetes.default.svc.cluster.local/openid/v1/jwks',
  ),
  'workloads[].jwks': key('A file with its keys, instead of discovery.', './cluster.jwks.json'),
  'workloads[].audience': key('The `aud` that the token must have.', 'deputy'),
  'workloads[].match': key(
    'JSON pointers into the verified claims, and the text that must stand there; `*` stands for any characters.',
    '{ /kubernetes.io/namespace: agents, /kubernetes.io/serviceaccount/name: "triage-*" }',
  ),
  'workloads[].agent': key(
    'The agent that it is: a name, or the JSON pointer of the claim that says it; of a certificate, `/uri`, `/dns` or `/cn`.',
    'agent:triage',
  ),
  'workloads[].max_age': key(
    "The longest life of such a token, from `iat` to `exp`: for so long a deleted workload's token goes on where keys verify it. By itself `10m`, with `token_review` `1h`.",
    '10m',
  ),
  'workloads[].spiffe': key(
    'A SPIFFE trust domain instead of an issuer: JWT-SVIDs, by the bundle that `jwks` or `jwks_uri` names.',
    'spiffe://corp.example',
  ),
  'workloads[].certificate': key(
    'Client certificates instead of tokens, by the names in them; all that are named here must fit, and `*` stands for any characters. Needs `listeners.agent_tls.client_ca`.',
  ),
  'workloads[].certificate.uri': key(
    'The URI name, of which there may be one only, such as a SPIFFE ID.',
    'spiffe://corp.example/agents/triage',
  ),
  'workloads[].certificate.dns': key('A DNS name, in lower case.', 'triage.agents.corp.example'),
  'workloads[].certificate.cn': key('The common name of the subject.', 'triage'),
  'workloads[].token_review': key(
    'Asks an API server of Kubernetes about each token, for each call, instead of verifying by keys: it knows of deleted pods and accounts at once.',
  ),
  'workloads[].token_review.server': key(
    'The API server.',
    'https://kubernetes.default.svc.cluster.local',
  ),
  'workloads[].token_review.ca': key(
    'File of its authority (PEM), beside those of all connections; read again when it changes.',
    '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt',
  ),
  'workloads[].token_review.token': key(
    "File of deputy's own token, read for each question.",
    '/var/run/secrets/kubernetes.io/serviceaccount/token',
  ),
  'workloads[].token_review.cache': key(
    'For how long an answer that said yes counts, at most `10s`; `0s` asks for each call.',
    '2s',
  ),
  'workloads[].token_review.insecure': insecure,
  'workloads[].insecure': insecure,
  runs: key('Run tokens: jobs that act for a person while nobody is there.'),
  'runs.max': key('The longest life of a run token.', '12h'),
  'runs.hold': key(
    'How long a call of a run, or of a workload by standing, waits for a consent while the link goes out by `connect.notify`; `Prefer: wait=` says otherwise.',
    '10m',
  ),

  audit: key('The evidence.'),
  'audit.sink': key(
    'Where the evidence goes: `stdout`, `file:PATH`, or `otlp` to the collector of `telemetry.otlp`.',
    '["file:audit.jsonl"]',
  ),
  'audit.spool': key(
    'A folder that keeps evidence until the collector has it, where no sink is a file.',
    './spool',
  ),
  'audit.spool_size': key(
    'Bytes that may wait in the spool; then no record is taken, and with `audit.required` no call leaves.',
    '256MiB',
  ),
  'audit.fsync': key(
    'When the evidence is forced to the disk: `never`, after `each` record, or at this interval.',
    'each',
  ),
  'audit.required': key(
    'With `true`, a call whose record cannot be written does not leave.',
    'false',
  ),
  'audit.user_ids': key(
    'How the evidence names people: `plain` by their ids, or `hashed` under a key of each person’s own, which is erased with them.',
    'hashed',
  ),
  'audit.inputs': key(
    'With `sealed`, keeps what policy was asked in `inputs.jsonl` below `state`, for whoever has the private key alone.',
    'sealed',
  ),
  'audit.inputs_key': key(
    'The public JWK that they are sealed for: RSA, EC or X25519.',
    '"${file:./investigator.pub.jwk}"',
  ),
  'audit.rotate': key(
    'When deputy closes the file under another name and begins a new one: by default at 256MiB and once a day; `off` where something else rotates.',
  ),
  'audit.rotate.size': key('The size at which it does; absent: 256MiB.', '1GiB'),
  'audit.rotate.every': key('The time after which it does; absent: 1d.', '1h'),
  'audit.retention': key('The age at which closed files are removed; absent: 400d.', '90d'),

  telemetry: key('What deputy says about itself.'),
  'telemetry.otlp': key(
    'The collector, by OTLP over HTTP; `/v1/logs` or `/v1/traces` is added to it.',
    'http://127.0.0.1:4318',
  ),
  'telemetry.traces': key(
    'The share of traces whose calls are sent to the collector as spans, 0 to 1; absent: none.',
    '0.01',
  ),
  'telemetry.headers': key(
    'Headers for the collector, such as its key.',
    '{ x-api-key: "${env:COLLECTOR_KEY}" }',
  ),
  'telemetry.insecure': key('Allows plain http to another machine.', 'true'),
  'telemetry.log_level': key('The lowest level that is logged.', 'warn'),

  upstream: key('How providers are reached.'),
  'upstream.ca': key(
    "A file of further certificate authorities (PEM) beside the system's.",
    './ca.pem',
  ),
  'upstream.proxy': key(
    'A proxy that every connection goes through by CONNECT; user and password may stand in it.',
    'http://egress.corp:3128',
  ),
  'upstream.no_proxy': key(
    'Hosts, `.suffixes` and networks that are reached without it.',
    '[git.corp, 10.1.0.0/16]',
  ),
  'upstream.connect_timeout': key('How long a connection may take to open.', '10s'),
  'upstream.idle_timeout': key('How long a provider may send nothing.', '5m'),

  network: key('Which addresses deputy may connect to.'),
  'network.allow_private': key(
    'Private addresses that deputy may connect to; every other private address is refused.',
  ),
  'network.allow_private[].host': key('Only under this host name; absent: under any.', 'git.corp'),
  'network.allow_private[].net': key('The addresses, as a network.', '10.1.0.0/16'),

  forward: key(
    'A listener for agents that cannot change a base URL: they set HTTPS_PROXY, and trust one certificate more.',
  ),
  'forward.listen': key('The address of this listener.', '127.0.0.1:7414'),
  'forward.ca': key(
    'The folder that `deputy ca` writes: `ca.crt`, which agents trust, and `ca.key`, which never leaves it.',
    './ca',
  ),
  tools: key('Tools: operations of providers under names that models and their hosts call.'),
  'tools.files': key(
    'Files with tools of your own, in the format of docs/tools.md.',
    '[./tools.yaml]',
  ),
  'tools.endpoints': key('Which tools are listed for hosts that speak MCP, and where.'),
  'tools.endpoints[].path': key('The path on the agent listener.', '/mcp/sales'),
  'tools.endpoints[].tools': key(
    'The tools that it lists; a * stands for any letters.',
    '["Gmail.*"]',
  ),
  'tools.endpoints[].agents': key('The agents that may ask it; absent: all.', '[agent:sales]'),
  'tools.endpoints[].discovery': key('Whether tools are searched for instead of listed.', 'true'),

  limits: key('Bounds of what one call, one agent and one process may use.'),
  'limits.drain': key('How long calls may still end after SIGTERM.', '60s'),
  'limits.drain_delay': key(
    'How long calls are still accepted after SIGTERM, while /readyz says that deputy drains. A gateway needs it whose balancer takes that long to hear of it. The drain follows.',
    '5s',
  ),
  'limits.request_body': key('The largest body that is sent on.', '1GiB'),
  'limits.inspected_body': key(
    'The largest body that deputy reads whole before it sends it on.',
    '4MiB',
  ),
  'limits.rewritten_body': key(
    'The largest answer, uncompressed, in which URLs are rewritten.',
    '8MiB',
  ),
  'limits.policy_input': key('The largest input that the policy is given.', '64KiB'),
  'limits.headers': key('The largest size of all headers of a request together.', '16KiB'),
  'limits.tool_result': key('The longest result of a tool; what is longer is cut.', '128KiB'),
  'limits.held_calls': key('How many calls may wait for a person at once.', '100'),
  'limits.held_bytes': key('How much the bodies of such calls may take together.', '16MiB'),
  'limits.hold_max': key('The longest time that such a call may wait, whatever it asks for.', '5m'),
  'limits.calls': key('How many calls may run at once.', '2000'),
  'limits.calls_per_agent': key('How many calls of one agent may run at once.', '200'),
}

type Json = { [member: string]: unknown }

/** Every key in a JSON Schema of the configuration, by its path, in the order in which it is written. */
export const keysOf = (schema: unknown, path = ''): readonly (readonly [string, Json])[] => {
  if (!isObject(schema)) return []
  const { anyOf, properties, items, additionalProperties: named } = schema
  if (Array.isArray(anyOf)) return anyOf.flatMap((each) => keysOf(each, path))
  if (isObject(properties))
    return Object.entries(properties).flatMap(([name, value]) => {
      const at = path === '' ? name : `${path}.${name}`
      return isObject(value) ? [[at, value] as const, ...keysOf(value, at)] : []
    })
  return isObject(items) ? keysOf(items, `${path}[]`) : keysOf(named, `${path}.NAME`)
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
