// `deputy connect code`: the one-time code of `sign_in: local`, from the 0600 file that `serve` keeps.
import { readFileSync } from 'node:fs'

/** @returns exit code: 0, or 1 when nobody serves here */
export const connectCode = (options: {
  readonly at: (path: string) => string
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): number => {
  const file = options.at('.deputy-code')
  try {
    options.print(readFileSync(file, 'utf8').trim())
    return 0
  } catch (error) {
    options.complain(
      `no code at ${file}: is \`deputy serve\` running there with connect.sign_in: local? (${error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'})`,
    )
    return 1
  }
}
