// One container of the image as a command, for the sandbox: run.ts IMAGE.json FOLDER ARGS. FOLDER is seen at its own path
// and belongs to the image's user. IMAGE.json holds `root` and `config` of an Image.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { startContainer, UID, type Image } from './container.ts'

const [file = '', folder = '', ...args] = process.argv.slice(2)
const image = JSON.parse(readFileSync(file, 'utf8')) as Pick<Image, 'root' | 'config'>
spawnSync('chown', ['-R', `${UID}:${UID}`, folder])
const mounts = [{ from: folder, to: folder, writable: true }]
const { child } = startContainer(image, { args, mounts }, 'inherit')
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => child.kill(signal))
child.once('close', (code) => process.exit(code ?? 1))
