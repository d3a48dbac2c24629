// `deputy providers test`: one definition against a scripted provider that misbehaves in every way that applies to it.
import { existsSync, readdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { readBeside, readYaml } from '../config/load.ts'
import { messageOf } from '../problem.ts'
import { compileProviders } from '../providers/parse.ts'
import type { Provider } from '../model.ts'
import { ANSWERS } from '../quirks/answers.ts'
import { CHAINS } from '../quirks/chains.ts'
import type { Quirk, Stage } from '../quirks/check.ts'
import { exampleOf } from '../quirks/example.ts'
import { failures } from '../quirks/failures.ts'
import { PLACES } from '../quirks/places.ts'
import { openWorld } from '../quirks/world.ts'

type Print = (line: string) => void

/** The shipped definitions, and one of the user's own over them. */
const readFiles = async (
  dir: string,
  file: string | undefined,
): Promise<ReadonlyMap<string, unknown>> => {
  const files = new Map<string, unknown>()
  for (const name of readdirSync(dir).sort())
    if (/(?:(?<!\.tools)\.ya?ml|\.catalogue\.json)$/.test(name))
      files.set(`providers/${name}`, await readBeside(join(dir, name)))
  if (file === undefined) return files
  const own = await readYaml(resolve(file))
  const id = typeof own === 'object' && own !== null && 'id' in own ? own.id : null
  for (const [where, raw] of files)
    if (typeof raw === 'object' && raw !== null && 'id' in raw && raw.id === id) files.delete(where)
  files.set(file, own)
  if (
    typeof own === 'object' &&
    own !== null &&
    'operations' in own &&
    typeof own.operations === 'string'
  ) {
    const beside = join(dirname(resolve(file)), own.operations)
    if (existsSync(beside)) files.set(join(dirname(file), own.operations), await readYaml(beside))
  }
  return files
}

/** Tokens and secrets of the scripted provider begin so: none of them may be in what was logged. */
const LEAK = /\b[ax][tr]-s\d|\brt-s\d|s3cr\+et/

const runOne = async (quirk: Quirk, stage: Stage): Promise<string | null> => {
  try {
    const logged = stage.world.logged().length
    const said = await quirk.run(stage)
    return (
      said ??
      (LEAK.test(stage.world.logged().slice(logged)) ? 'a token or a secret was logged' : null)
    )
  } catch (error) {
    return `deputy failed: ${messageOf(error)}`
  }
}

/** @returns how many quirks applied, and which failed */
export const testProvider = async (
  provider: Provider,
  print: Print,
): Promise<{ readonly passed: number; readonly failed: readonly string[] }> => {
  if (provider.credential === 'api_key') {
    print('its credential is an API key that each person pastes: there is no OAuth to go wrong')
    return { passed: 0, failed: [] }
  }
  const read = exampleOf(provider)
  if ('problems' in read) {
    for (const problem of read.problems) print(problem)
    return { passed: 0, failed: read.problems }
  }
  const world = await openWorld()
  const failed: string[] = []
  let passed = 0
  try {
    // Endpoints that the issuer has to say are asked of the scripted one; what it answers decides the rest.
    const resolved = provider.discover ? await world.discovered(provider, read.example) : provider
    const told = exampleOf(resolved)
    const { example } = 'problems' in told ? read : told
    const stage = { world, provider: resolved, written: provider, example }
    for (const quirk of [...CHAINS, ...PLACES, ...ANSWERS, ...failures(stage)]) {
      if (quirk.applies?.(stage) === false) continue
      const said = await runOne(quirk, stage)
      const known = said !== null && failed.some((line) => line.endsWith(`: ${said}`))
      print(
        said === null ? `ok      ${quirk.id}` : `FAILED  ${quirk.id}: ${known ? 'the same' : said}`,
      )
      if (said === null) passed += 1
      else failed.push(`${quirk.id}: ${said}`)
    }
  } finally {
    await world.close()
  }
  return { passed, failed }
}

/**
 * Prints one line a quirk.
 * @param options.file a definition of one's own; `id` may then be left out of the command line
 * @returns the exit code: 1 when something failed, or there is no such definition
 */
export const providersTest = async (options: {
  readonly id: string
  readonly file?: string | undefined
  readonly dir: string
  readonly print: Print
}): Promise<number> => {
  const { print } = options
  let files: Awaited<ReturnType<typeof readFiles>>
  try {
    files = await readFiles(options.dir, options.file)
  } catch (error) {
    print(messageOf(error))
    return 1
  }
  const { providers, problems } = compileProviders(files)
  for (const problem of problems) print(problem)
  if (problems.length > 0) return 1
  const provider = providers.get(options.id)
  if (provider === undefined) {
    print(
      `there is no provider ${JSON.stringify(options.id)}; there are ${[...providers.keys()].join(', ')}${options.file === undefined ? '. Name the file of your own: --file acme.yaml' : ''}`,
    )
    return 1
  }
  const slots = provider.slots?.size ? [...provider.slots] : [['', provider] as const]
  let ok = true
  for (const [slot, each] of slots) {
    if (slot !== '') print(`slot ${slot}`)
    const { passed, failed } = await testProvider(each, print)
    print(`${passed} of ${passed + failed.length} quirks are dealt with`)
    ok &&= failed.length === 0
  }
  return ok ? 0 : 1
}
