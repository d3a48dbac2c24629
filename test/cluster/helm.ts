// Helm and kubectl as their users run them, and what Helm makes of the chart.
import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse, parseAllDocuments } from 'yaml'
import { CHART } from '../chart.ts'
import { isTree } from '../docs.ts'
import type { Tree } from '../docs.ts'
import { missingProgram } from '../support/servers/server.ts'

const KEPT = join(homedir(), '.cache/deputy-ci')
const TOOLS = process.env['DEPUTY_KUBECTL'] ?? join(KEPT, 'kubectl-36-2.0.1')
export const HELM = join(TOOLS, 'helm/helm')
export const KUBECTL = join(TOOLS, 'kubectl/kubectl')
/** The oldest Helm that the chart is rendered with. */
export const HELM_3 = join(
  process.env['DEPUTY_HELM3'] ?? join(KEPT, 'kubectl-32-2.1.0'),
  'helm/helm',
)
export const NO_HELM = missingProgram(HELM) ?? missingProgram(HELM_3)
export const KUBERNETES = '1.36.3'

export type Ran = { readonly code: number; readonly out: string; readonly err: string }
/** Runs a program to its end, whatever that is. */
export const run = (
  command: string,
  args: readonly string[],
  more: { readonly input?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Ran> =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...more.env },
    })
    const [out, err]: [Buffer[], Buffer[]] = [[], []]
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
    child.once('error', reject)
    child.once('close', (code) =>
      resolve({
        code: code ?? -1,
        out: Buffer.concat(out).toString(),
        err: Buffer.concat(err).toString(),
      }),
    )
    child.stdin.on('error', () => undefined) // it ended without reading
    child.stdin.end(more.input ?? '')
  })

export type Rendering = {
  /** A file of values in `ci/`, without `-values.yaml`. */
  readonly values: string
  /** Laid over them; null takes a value away. */
  readonly set?: Tree
  readonly namespace?: string
  readonly kubernetes?: string
}
const laid = (tree: Tree, over: Tree): Tree => {
  const whole = { ...tree }
  for (const [key, value] of Object.entries(over)) {
    const below = whole[key]
    if (value === null) delete whole[key]
    else whole[key] = isTree(value) && isTree(below) ? laid(below, value) : value
  }
  return whole
}
/** The values as one JSON text. */
export const valuesOf = ({ values, set = {} }: Rendering): string => {
  const file: unknown = parse(readFileSync(join(CHART, `ci/${values}-values.yaml`), 'utf8'))
  if (!isTree(file)) throw new Error(`ci/${values}-values.yaml holds no values`)
  return JSON.stringify(laid(file, set))
}
export const template = (rendering: Rendering, helm = HELM): Promise<Ran> =>
  run(
    helm,
    [
      'template',
      'deputy',
      CHART,
      `--namespace=${rendering.namespace ?? (rendering.values.startsWith('gateway') ? 'deputy' : 'agents')}`,
      `--kube-version=${rendering.kubernetes ?? KUBERNETES}`,
      '--values=-',
    ],
    { input: valuesOf(rendering) },
  )

const outOf = ({ code, out, err }: Ran): string => {
  if (code !== 0) throw new Error(err)
  // Releases of Helm differ in empty lines.
  return out.replaceAll(/\n\n+/g, '\n')
}
/** @throws Error with what Helm says */
export const render = async (rendering: Rendering, helm = HELM): Promise<string> =>
  outOf(await template(rendering, helm))

/** The same values in an agent's own chart (`own/`), whose pod includes the sidecar. */
export const renderOwn = async (rendering: Rendering): Promise<string> => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-own-'))
  try {
    cpSync(fileURLToPath(new URL('own/', import.meta.url)), dir, { recursive: true })
    cpSync(CHART, join(dir, 'charts/deputy'), { recursive: true })
    const args = ['template', 'own', dir, '--namespace', rendering.namespace ?? 'agents']
    const input = `{"deputy": ${valuesOf(rendering)}}`
    return outOf(
      await run(HELM, [...args, '--kube-version', KUBERNETES, '--values', '-'], { input }),
    )
  } finally {
    rmSync(dir, { recursive: true })
  }
}
export const objectsIn = (text: string): readonly Tree[] =>
  parseAllDocuments(text)
    .map((document) => document.toJS() as unknown)
    .filter(isTree)

/** What stands at `a.b.0.c`; undefined: nothing. */
export const at = (tree: unknown, path: string): unknown =>
  path
    .split('.')
    .reduce<unknown>(
      (here, key) =>
        Array.isArray(here) ? here[Number(key)] : isTree(here) ? here[key] : undefined,
      tree,
    )
