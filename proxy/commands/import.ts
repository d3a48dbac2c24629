// `deputy import FILE`: providers in another product's words → YAML of ours, so that no start translates them.
import { writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { Document } from 'yaml'
import { readYaml, shipped } from '../config/load.ts'
import { messageOf } from '../problem.ts'
import { compileProviders } from '../providers/parse.ts'
import { importFile } from './import/entries.ts'
import type { Imported } from './import/entries.ts'
import { readProviderFiles } from './providers.ts'

const EXIT = { whole: 0, nothing: 1, partial: 2 } as const

const yamlOf = ({ connections, providers, left }: Imported, name: string): string => {
  const document = new Document({
    connections: Object.fromEntries(connections),
    ...(providers.length === 0 ? {} : { providers }),
  })
  document.commentBefore = [
    ` Written by \`deputy import ${name}\`: parts of a configuration, to be put into yours.`,
    ...(left.length === 0
      ? []
      : [' Could not be carried over:', ...left.map((line) => `   ${line}`)]),
  ].join('\n')
  return document.toString({ lineWidth: 0 })
}

/**
 * What could not be carried over goes to `complain`, each thing at its place; what it writes loads as it is.
 * @param options.out a new file (0600) instead of `print`
 * @returns exit code: 0; 2 when something could not be carried over; 1 when nothing was written
 */
export const importProviders = async (options: {
  readonly file: string
  readonly out?: string | undefined
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): Promise<number> => {
  const { file, out, print, complain } = options
  const { providers } = compileProviders(readProviderFiles(shipped('providers')))
  let found: Imported | null
  try {
    found = importFile(await readYaml(file), { name: file, shipped: providers })
  } catch (error) {
    complain(messageOf(error))
    return EXIT.nothing
  }
  if (found === null) {
    complain(`${file}: there is no provider in it: neither auth.providers nor oauth2`)
    return EXIT.nothing
  }
  for (const line of found.left) complain(`not carried over: ${line}`)
  for (const line of found.notes) complain(`note: ${line}`)
  if (found.connections.size === 0) {
    complain(`${file}: nothing is left to write`)
    return EXIT.nothing
  }
  const text = yamlOf(found, basename(file))
  if (out === undefined) print(text.trimEnd())
  else
    try {
      writeFileSync(out, text, { flag: 'wx', mode: 0o600 })
    } catch (error) {
      const there = error instanceof Error && 'code' in error && error.code === 'EEXIST'
      complain(there ? `${out} is there already and stays as it is` : String(error))
      return EXIT.nothing
    }
  complain(
    `register this redirect address at each provider: {connect.url}/callback/${found.connections.size === 1 ? [...found.connections.keys()].join() : '<connection>'}`,
  )
  return found.left.length === 0 ? EXIT.whole : EXIT.partial
}
