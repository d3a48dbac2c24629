// `deputy audit explain`: the story of one call, in sentences.
import { chainsOf } from '../audit/chains.ts'
import { rowsOf, type Row } from '../audit/query.ts'
import { storyOf } from '../audit/story.ts'
import { visible } from '../observe/log.ts'
import { messageOf } from '../problem.ts'

/** Exit code 0: told; 1: the exchange is not there, or a file could not be read. */
export const auditExplain = async (options: {
  readonly exchange: string
  readonly files: readonly string[]
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): Promise<number> => {
  const { exchange, files, print, complain } = options
  try {
    const rows: Row[] = []
    for await (const row of rowsOf(await chainsOf(files), { exchange })) rows.push(row)
    if (rows.length === 0) {
      complain(visible(`${files.join(', ')}: there is no exchange ${exchange}`))
      return 1
    }
    const places = rows.map(({ file, line }) => `${file}:${line}`)
    for (const line of [...storyOf(rows), `Evidence: ${places.join(', ')}.`]) print(visible(line))
    return 0
  } catch (error) {
    complain(visible(`${files.join(', ')} could not be read: ${messageOf(error)}`))
    return 1
  }
}
