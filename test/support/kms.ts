// Programs for vault.kms: small ones that misbehave, and the real one with a SoftHSM token behind it.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Writes a program of these lines of sh. @returns its path */
export const programOf = (folder: string, name: string, lines: string): string => {
  const path = join(folder, name)
  writeFileSync(path, `#!/bin/sh\n${lines}\n`, { mode: 0o755 })
  return path
}
/**
 * Wraps by reversing the text of the key and counting each question in a file: what the tests of the protocol need, and no
 * secret at all.
 */
export const reversing = (folder: string, name = 'reversing'): string =>
  programOf(
    folder,
    name,
    `read -r hello version verb; read -r json
echo "$hello $version $verb" >>${join(folder, 'asked')}
[ ! -e ${join(folder, 'down')} ] || { echo "the key store is down" >&2; exit 3; }
value() { printf '%s' "$json" | sed -n "s/.*\\"$1\\":\\"\\([^\\"]*\\)\\".*/\\1/p"; }
case $verb in
wrap) printf '{"wrapped":"%s"}' "$(value key | rev)" ;;
unwrap) printf '{"key":"%s"}' "$(value wrapped | rev)" ;;
esac`,
  )

const MODULE = '/usr/lib/softhsm/libsofthsm2.so'
const TOOLS = ['/usr/bin/softhsm2-util', '/usr/bin/pkcs11-tool', '/usr/bin/openssl', MODULE]
/** Empty, or why nothing is tried with an HSM: said aloud; under DEPUTY_NO_SKIP=1 it throws. */
export const hsmMissing = (): string => {
  const lacking = TOOLS.filter((path) => !existsSync(path))
  if (lacking.length === 0) return ''
  const missing = `${lacking.join(', ')} is missing (apt-get install softhsm2 opensc openssl)`
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)
  process.stderr.write(`SKIPPED: ${missing}\n`)
  return ` (SKIPPED: ${missing})`
}

/** The program that ships as an example. */
const BOOK = fileURLToPath(new URL('../../docs/operate/kms.md', import.meta.url))
export const PKCS11 = fileURLToPath(new URL('../../docs/operate/kms-pkcs11.sh', import.meta.url))
/** A new token with a key pair in it, in this folder. @returns the environment that the program wants */
export const startToken = (folder: string): Readonly<Record<string, string>> => {
  const tokens = join(folder, 'tokens')
  mkdirSync(tokens, { mode: 0o700, recursive: true })
  const [conf, pin] = [join(folder, 'softhsm2.conf'), join(folder, 'pin')]
  writeFileSync(
    conf,
    `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`,
  )
  writeFileSync(pin, '642853', { mode: 0o600 })
  // As the book says it.
  const [, commands = ''] =
    /^```sh\n(softhsm2-util [^]*?)^```$/m.exec(readFileSync(BOOK, 'utf8')) ?? []
  execFileSync('/bin/sh', ['-euc', commands], {
    env: {
      ...process.env,
      SOFTHSM2_CONF: conf,
      SO_PIN: '11223344',
      PIN: '642853',
      DEPUTY_KMS_MODULE: MODULE,
    },
    stdio: 'pipe',
  })
  return {
    DEPUTY_KMS_MODULE: MODULE,
    DEPUTY_KMS_TOKEN: 'deputy',
    DEPUTY_KMS_PIN: pin,
    DEPUTY_KMS_SOFTHSM2_CONF: conf,
  }
}
