// The bill of materials of what runs (CycloneDX), on standard output. npm writes it for the whole lock; `--omit dev` would
// also leave out what production shares with a package for development, so what the lock marks as for development goes here.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'))
const purl = (name, version) => `pkg:npm/${name.replace('@', '%40')}@${version}`
const kept = new Set(
  Object.entries(packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path, { name, version }]) => purl(name ?? path.split('node_modules/').at(-1), version)),
)
const args = ['--package-lock-only', '--sbom-format', 'cyclonedx', '--sbom-type', 'application']
const bill = JSON.parse(
  execFileSync('npm', ['sbom', ...args], { encoding: 'utf8', maxBuffer: 2 ** 26 }),
)
const components = bill.components.filter((component) => kept.has(component.purl))
const lost = [...kept].filter((each) => !components.some((component) => component.purl === each))
if (lost.length > 0) throw new Error(`npm sbom does not know ${lost.join(', ')}`)
// npm takes the name of the folder.
bill.metadata.component.name = packages[''].name
const refs = new Set(
  [bill.metadata.component, ...components].map((component) => component['bom-ref']),
)
const dependencies = bill.dependencies
  .filter(({ ref }) => refs.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((each) => refs.has(each)) }))
process.stdout.write(`${JSON.stringify({ ...bill, components, dependencies }, null, 2)}\n`)
