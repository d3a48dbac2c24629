// Java's clients: where .ci/run puts them, and what leads them to a proxy.
import { execFileSync } from 'node:child_process'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const JARS =
  process.env['DEPUTY_JAVACLIENTS'] ?? join(homedir(), '.cache/deputy-ci/javaclients-2')

/** Runs a class of the folder beside this from its source. */
export const javaArgs = (source: string): readonly string[] => [
  '-XX:TieredStopAtLevel=1',
  '-cp',
  `${JARS}/*`,
  fileURLToPath(new URL(`java/${source}`, import.meta.url)),
]

/**
 * As docs/forward.md tells: Java reads neither HTTPS_PROXY nor a certificate that is in no store.
 * @param proxy the origin of the listener
 * @param certificates files, of which a store is made beside the first
 */
export const javaEnv = (
  proxy: string,
  certificates: readonly string[],
): Readonly<Record<string, string>> => {
  const { hostname, port } = new URL(proxy)
  const store = join(dirname(certificates[0] ?? ''), 'deputy.p12')
  for (const [n, file] of certificates.entries()) {
    const known = ['-importcert', '-noprompt', '-alias', `deputy-${n}`, '-file', file]
    const args = [...known, '-keystore', store, '-storepass', 'changeit']
    execFileSync('keytool', args, { stdio: 'ignore' })
  }
  const trust = `-Djavax.net.ssl.trustStore=${store} -Djavax.net.ssl.trustStorePassword=changeit`
  return { JAVA_TOOL_OPTIONS: `-Dhttps.proxyHost=${hostname} -Dhttps.proxyPort=${port} ${trust}` }
}
