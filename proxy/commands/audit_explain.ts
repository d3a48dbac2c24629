// `deputy audit explain`: the story of one call, in sentences.
import { readFile } from 'node:fs/promises'
import { chainsOf } from '../audit/chains.ts'
import { openInputs } from '../audit/opened_inputs.ts'
import { rowsOf, textAt, type Row } from '../audit/query.ts'
import { storyOf } from '../audit/story.ts'
import { privateKeyOf } from '../config/investigator.ts'
import { visible } from '../observe/log.ts'
import { messageOf } from '../problem.ts'

/** Members that were sealed of the call, opened; a sentence for each that does not open. */
const sealedOf = async (
  rows: readonly Row[],
  { key, inputs }: { readonly key: string; readonly inputs: string },
): Promise<{ readonly told: readonly string[]; readonly wrong: readonly string[] }> => {
  const investigator = privateKeyOf(await readFile(key, 'utf8'))
  const paths = (await chainsOf([inputs])).flat().map(({ path }) => path)
  const opened = await openInputs(paths, investigator)
  const told: string[] = []
  const wrong: string[] = [...opened.wrong]
  for (const { fields } of rows.filter((row) => textAt(row.fields, 'event') === SEALED)) {
    const line = { exchange: textAt(fields, 'exchange'), proc: textAt(fields, 'proc') }
    const digest = textAt(fields, 'members')
    const said = await opened.members(line, digest)
    const name = `What ${textAt(fields, 'obligation')} has sealed of the ${textAt(fields, 'in')}`
    if (said.kind === 'opened') told.push(`${name}: ${said.text}`)
    else wrong.push(`${name} ${said.why}`)
  }
  return { told, wrong }
}
const SEALED = 'obligation.sealed'

/** Exit code 0: told; 1: the exchange is not there, or a file could not be read; 2: a sealed record does not open. */
export const auditExplain = async (options: {
  readonly exchange: string
  readonly files: readonly string[]
  /** File of the investigator's private JWK, which opens what was sealed of the call; absent: nothing is opened. */
  readonly inputsKey?: string | undefined
  /** File of what was sealed, or a folder of such files. */
  readonly inputs: string
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): Promise<number> => {
  const { exchange, files, inputs, inputsKey: key, print, complain } = options
  try {
    const rows: Row[] = []
    for await (const row of rowsOf(await chainsOf(files), { exchange })) rows.push(row)
    if (rows.length === 0) {
      complain(visible(`${files.join(', ')}: there is no exchange ${exchange}`))
      return 1
    }
    const places = rows.map(({ file, line }) => `${file}:${line}`)
    for (const line of [...storyOf(rows), `Evidence: ${places.join(', ')}.`]) print(visible(line))
    if (key === undefined) return 0
    const { told, wrong } = await sealedOf(rows, { key, inputs })
    for (const line of told) print(visible(line))
    for (const line of wrong) complain(visible(line))
    return wrong.length > 0 ? 2 : 0
  } catch (error) {
    complain(
      visible(
        `${[...files, ...(key === undefined ? [] : [key, inputs])].join(', ')} could not be read: ${messageOf(error)}`,
      ),
    )
    return 1
  }
}
