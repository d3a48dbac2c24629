// What authorization services say of a call by nobody, and checks that no call can be asked about.
import { randomUUID } from 'node:crypto'
import { checksOf } from '../../compose/checks.ts'
import { checkKindOf, nameOf, type CheckConfig } from '../../config/checks.ts'
import type { Loaded } from '../../config/load.ts'
import { toldOf } from '../../files.ts'
import type { Clock, OperationRow } from '../../model.ts'
import type { Fetch } from '../../net/dial.ts'
import { namesIn } from '../../wire/template.ts'
import { QUIET } from '../aside.ts'
import { concerns } from '../../wire/pattern.ts'

/** Has a call of this operation all that the templates name? */
const suffices = (operation: OperationRow, names: readonly string[]): boolean =>
  names.every((name) =>
    name.startsWith('path.')
      ? new RegExp(`\\{${name.slice('path.'.length)}\\+?\\}`).test(operation.path)
      : !name.startsWith('body/') || operation.inspect.includes(name.slice('body'.length)),
  )
const idle = ({ connections }: Loaded, entry: CheckConfig, at: string): readonly string[] => {
  const { preset, ...texts } = checkKindOf(entry)
  const names = namesIn(texts)
  const operations = [...connections.values()].flatMap(({ provider }) => provider.operations)
  const named = operations.filter(({ id }) => entry.operations.some((one) => concerns(one, id)))
  if (named.length === 0)
    return [`${at}: no connection has an operation that it names, so it is never asked`]
  return named.some((operation) => suffices(operation, names))
    ? []
    : [
        `${at}: no operation that it names has all of ${names.map((name) => `{${name}}`).join(', ')}, so it is never asked (${preset})`,
      ]
}

/** Each check, asked once about nobody. */
export const askedAboutNobody = async (
  loaded: Loaded,
  fetch: Fetch,
  clock: Clock,
): Promise<readonly string[]> => {
  const entries = loaded.config.entitlements?.checks ?? []
  const nobody = `deputy-validate-${randomUUID()}`
  const checks = checksOf(loaded.config, {
    fetch,
    clock,
    log: QUIET,
    keep: (_, __, make) => make().value,
    seen: { answered: () => {}, failed: () => {} },
  })
  const notes = entries.map(async (entry, i): Promise<readonly string[]> => {
    const at = `entitlements.checks.${i}`
    const began = clock.mono()
    const said = await Promise.resolve(checks[i]?.about(() => nobody, nobody)?.()).then(
      (answer) =>
        answer === true
          ? `asked about nobody, it says yes: either everybody may, or it does not look at what it is asked`
          : `asked about nobody, it says no in ${Math.round(clock.mono() - began)} ms, as it should`,
      (error: unknown) =>
        `calls that it is asked about are refused until it answers: ${toldOf(error)}`,
    )
    return [`${at} (${nameOf(entry)}): ${said}`, ...idle(loaded, entry, at)]
  })
  return (await Promise.all(notes)).flat()
}
