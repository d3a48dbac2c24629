// LemonLDAP::NG: its portal under Starman, its sessions in files; anybody may sign in whose password is their name.
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { basic, introspectAt, missingProgram, startProgram } from './server.ts'
import type { Client, Kind } from './server.ts'
import { freePort } from '../ports.ts'

const HOME = process.env['DEPUTY_LEMONLDAP'] ?? join(homedir(), '.cache/deputy-ci/lemonldap-2.16.1')
const STARMAN = join(HOME, 'usr/bin/starman')
const LIBRARIES = ['usr/share/perl5', 'usr/lib/x86_64-linux-gnu/perl5/5.36']

const keyPair = () =>
  generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
const relyingParty = (client: Client) => ({
  oidcRPMetaDataOptionsClientID: client.id,
  oidcRPMetaDataOptionsClientSecret: client.secret,
  oidcRPMetaDataOptionsRedirectUris: client.redirectUris.join(' '),
  oidcRPMetaDataOptionsAccessTokenExpiration: client.accessTtl,
  oidcRPMetaDataOptionsAllowOffline: 1,
  oidcRPMetaDataOptionsRequirePKCE: 1,
  oidcRPMetaDataOptionsBypassConsent: 0,
  oidcRPMetaDataOptionsIDTokenSignAlg: 'RS256',
  oidcRPMetaDataOptionsUserIDAttr: '_user',
})
/** Its configuration is one file of JSON; what says where that lies is another. */
const configure = (folder: string, portal: string, clients: readonly Client[]): void => {
  for (const name of ['conf', 'cache', 'sessions', 'lock']) mkdirSync(join(folder, name))
  const { publicKey, privateKey } = keyPair()
  const storage = { Directory: join(folder, 'sessions'), LockDirectory: join(folder, 'lock') }
  const config = {
    cfgNum: 1,
    cfgDate: 1,
    portal: `${portal}/`,
    domain: '127.0.0.1',
    securedCookie: 0,
    // No page shows a captcha, but its module is loaded all the same, and the usual one needs ImageMagick.
    captcha: '::UserDB::Null',
    authentication: 'Demo',
    userDB: 'Null',
    passwordDB: 'Null',
    registerDB: 'Null',
    whatToTrace: '_user',
    globalStorage: 'Apache::Session::File',
    globalStorageOptions: {
      ...storage,
      generateModule: 'Lemonldap::NG::Common::Apache::Session::Generate::SHA256',
    },
    persistentStorage: 'Apache::Session::File',
    persistentStorageOptions: storage,
    // One of its processes does not know what another has in its cache.
    localSessionStorage: '',
    tokenUseGlobalStorage: 1,
    locationRules: { '127.0.0.1': { default: 'accept' } },
    issuerDBOpenIDConnectActivation: 1,
    issuerDBOpenIDConnectRule: 1,
    issuerDBOpenIDConnectPath: '^/oauth2/',
    oidcServicePrivateKeySig: privateKey,
    oidcServicePublicKeySig: publicKey,
    oidcServiceKeyIdSig: 'one',
    oidcRPMetaDataOptions: Object.fromEntries(clients.map((one) => [one.id, relyingParty(one)])),
    oidcRPMetaDataExportedVars: Object.fromEntries(clients.map(({ id }) => [id, {}])),
  }
  writeFileSync(join(folder, 'conf/lmConf-1.json'), JSON.stringify(config))
  const ini = `[all]
logLevel = warn
logger = Lemonldap::NG::Common::Logger::Std
[configuration]
type = File
dirName = ${folder}/conf
localStorage = Cache::FileCache
localStorageOptions = { 'namespace' => 'config', 'cache_root' => '${folder}/cache' }
[portal]
staticPrefix = /static
templateDir = ${HOME}/usr/share/lemonldap-ng/portal/templates
languages = en
`
  writeFileSync(join(folder, 'lemonldap-ng.ini'), ini)
  writeFileSync(
    join(folder, 'app.psgi'),
    `use Lemonldap::NG::Portal::Main;
Lemonldap::NG::Portal::Main->run({ configStorage => { confFile => '${folder}/lemonldap-ng.ini' } });
`,
  )
}

/** Refresh tokens do not rotate: each is the name of a session, and lives as long as that. */
export const lemonldap: Kind = {
  name: 'LemonLDAP::NG',
  missing: missingProgram(STARMAN),
  start: async ({ clients }) => {
    const [first] = clients
    if (first === undefined) throw new Error('LemonLDAP::NG needs a client')
    const folder = mkdtempSync(join(tmpdir(), 'lemonldap-'))
    const port = await freePort()
    const origin = `http://127.0.0.1:${port}`
    configure(folder, origin, clients)
    const stop = await startProgram({
      command: 'perl',
      args: [STARMAN, '--listen', `127.0.0.1:${port}`, '--workers', '4', join(folder, 'app.psgi')],
      env: {
        PERL5LIB: LIBRARIES.map((path) => join(HOME, path)).join(':'),
        LLNG_DEFAULTCONFFILE: join(folder, 'lemonldap-ng.ini'),
      },
      ready: `${origin}/.well-known/openid-configuration`,
      withinMs: 120_000,
    })
    return {
      habits: { reuse: 'survives', refreshKillsAccess: false },
      token: `${origin}/oauth2/token`,
      definition: {
        issuer: `${origin}/`,
        authorize: `${origin}/oauth2/authorize`,
        userinfo: `${origin}/oauth2/userinfo`,
        scope: { always: ['openid', 'offline_access'] },
        // Without it the server leaves offline_access out (OpenID Connect Core 11).
        authorize_params: { prompt: 'consent' },
        rotation: 'none',
        lost_response: 'yes',
        account: { from: 'userinfo', id: '/sub' },
      },
      introspect: (token) =>
        introspectAt(`${origin}/oauth2/introspect`, token, 'sub', basic(first.id, first.secret)),
      // As its explorer of sessions does; it has no endpoint for that.
      withdraw: async (refreshToken) => rmSync(join(folder, 'sessions', refreshToken)),
      fill: ({ text }, account): Readonly<Record<string, string>> =>
        text.includes('name="password"') ? { user: account, password: account } : {},
      close: async () => {
        await stop()
        rmSync(folder, { recursive: true, force: true })
      },
    }
  },
}
