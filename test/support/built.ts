// Where `.ci/run` keeps a tool whose source lies in this repository.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/**
 * Its folder ends with a sum of its source: a tool of another source has another folder, and nobody runs the old one.
 * @param source its folder or file, from the root of the repository; summed as `.ci/sum` does
 */
const built = (name: string, source: string): string => {
  const files = statSync(join(ROOT, source)).isFile()
    ? [source]
    : readdirSync(join(ROOT, source), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length))
        .toSorted()
  const sum = createHash('sha256')
  for (const file of files) sum.update(readFileSync(join(ROOT, file)))
  return join(homedir(), '.cache/deputy-ci', `${name}-${sum.digest('hex').slice(0, 12)}`)
}

/** The Python that the clients of vendors are installed for. */
export const PYTHON =
  process.env['DEPUTY_PYCLIENTS'] ??
  join(built('pyclients', 'test/providers/clients.txt'), 'bin/python')
/** A program of vendors' clients in Go. */
export const GO =
  process.env['DEPUTY_GOCLIENTS'] ?? join(built('goclients', 'test/providers/goclients'), 'clients')
/** A server and a client of gRPC. */
export const PEER = process.env['DEPUTY_GRPC'] ?? join(built('grpc', 'test/providers/grpc'), 'peer')
/** The jars of vendors' clients in Java. */
export const JARS =
  process.env['DEPUTY_JAVACLIENTS'] ?? built('javaclients', 'test/sdks/java/pom.xml')
