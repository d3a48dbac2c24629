// The image as a platform team gets it: built from this checkout, looked at, and run with nothing but what it says.
// What stands in for the base (stand-in.sh) ends with the building: what runs here is what would run from the real one,
// but for the versions of Node's four libraries.
import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  buildImage,
  imageMissing,
  startContainer,
  UID,
  type Asked,
  type Image,
} from './container.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const HOME = 'opt/deputy-proxy'
const NODE = '/usr/local/bin/node'
const DEPUTY = `/${HOME}/bin/deputy.js`
const missing = imageMissing()
const say = (line: string): void => void process.stdout.write(`${line}\n`)

let image: Image
const folder = mkdtempSync(join(tmpdir(), 'deputy-image-test-'))
beforeAll(() => {
  if (missing !== '') return
  const began = performance.now()
  image = buildImage({ REVISION: '0123abc', SOURCE: 'https://example.com/deputy' })
  say(`image: built in ${Math.round((performance.now() - began) / 1_000)} s`)
}, 600_000)
afterAll(() => {
  if (missing === '') image.close()
  rmSync(folder, { recursive: true, force: true })
})

type File = {
  readonly path: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly kind: 'file' | 'folder' | 'link' | 'other'
  readonly size: number
}
const files = (): readonly File[] =>
  readdirSync(image.root, { recursive: true, encoding: 'utf8' }).map((path) => {
    const at = lstatSync(join(image.root, path))
    const kind = at.isFile()
      ? 'file'
      : at.isDirectory()
        ? 'folder'
        : at.isSymbolicLink()
          ? 'link'
          : 'other'
    return { path, mode: at.mode & 0o7777, uid: at.uid, gid: at.gid, kind, size: at.size }
  })

/** A first configuration of its own `init`, in two folders as they are mounted in a cluster: to be read, and to be written. */
const configured = (listeners: string, uid = UID) => {
  const place = mkdtempSync(join(folder, 'place-'))
  const [etc, lib] = [join(place, 'etc'), join(place, 'lib')]
  mkdirSync(etc)
  mkdirSync(lib)
  chmodSync(place, 0o755)
  chmodSync(folder, 0o755)
  const init = spawnSync(process.execPath, [join(ROOT, 'bin/deputy.js'), 'init', '--dir', etc])
  if (init.status !== 0) throw new Error(init.stderr.toString())
  const file = join(etc, 'deputy.yaml')
  const text = readFileSync(file, 'utf8').replace(
    'sign_in: local',
    'sign_in: local\n  url: http://localhost:7412',
  )
  writeFileSync(file, `${text}\nstate: /var/lib/deputy\n${listeners}\n`)
  for (const path of [
    etc,
    ...readdirSync(etc, { recursive: true, encoding: 'utf8' }).map((name) => join(etc, name)),
    lib,
  ])
    chownSync(path, uid, uid)
  return {
    etc,
    lib,
    mounts: [
      { from: etc, to: '/etc/deputy', writable: false },
      { from: lib, to: '/var/lib/deputy', writable: true },
    ],
  }
}
const SIDECAR = 'listeners: { agent: "127.0.0.1:0", admin: "127.0.0.1:0", connect: "127.0.0.1:0" }'

type Ended = { readonly code: number | null; readonly out: string; readonly err: string }
const start = (asked: Asked) => {
  const { child, pid } = startContainer(image, asked)
  const said = { out: '', err: '' }
  child.stdout?.on('data', (chunk: Buffer) => (said.out += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (said.err += chunk.toString()))
  const ended = new Promise<Ended>((resolve) =>
    child.once('close', (code) => resolve({ code, ...said })),
  )
  const address = (name: string): string =>
    new RegExp(`^${name}: (?:http://)?(\\S+)$`, 'm').exec(said.err)?.[1] ?? ''
  return { child, pid, said, ended, address }
}
const run = (asked: Asked): Promise<Ended> => start(asked).ended
const ready = async (container: ReturnType<typeof start>): Promise<void> => {
  await expect.poll(() => container.said.err, { timeout: 60_000 }).toContain('deputy is ready')
}
const stop = async (container: ReturnType<typeof start>): Promise<Ended> => {
  container.child.kill('SIGTERM')
  return container.ended
}
/** Serves until `during` is over. */
const served = async (
  asked: Asked,
  during: (container: ReturnType<typeof start>) => Promise<void> | void,
): Promise<Ended> => {
  const container = start(asked)
  try {
    await ready(container)
    await during(container)
  } finally {
    await stop(container)
  }
  return container.ended
}

describe.skipIf(missing !== '')(`what it is made of${missing}`, () => {
  test('it says who it is, what it runs and as whom', () => {
    const { version }: { readonly version: string } = JSON.parse(
      readFileSync(join(ROOT, 'package.json'), 'utf8'),
    )
    expect(image.config).toMatchObject({
      User: `${UID}:${UID}`,
      Cmd: ['serve'],
      WorkingDir: '/var/lib/deputy',
      Labels: {
        'org.opencontainers.image.source': 'https://example.com/deputy',
        'org.opencontainers.image.revision': '0123abc',
        'org.opencontainers.image.version': version,
        'org.opencontainers.image.licenses': 'Apache-2.0',
      },
    })
    expect(image.config.Volumes ?? {}).toEqual({})
    expect(image.config.Entrypoint[0]).toBe(NODE)
    expect(image.config.Entrypoint).toContain('--disable-sigusr1')
    expect(image.config.Entrypoint.at(-1)).toBe(DEPUTY)
    expect(image.config.Env).toContain('DEPUTY_CONFIG=/etc/deputy/deputy.yaml')
    expect(image.config.Env.join('\n')).not.toMatch(/NODE_EXTRA_CA|registry|proxy=/i)
  })

  test('all of it is root’s and nobody else can write to it, but for one folder of its user', () => {
    const all = files()
    expect(all.length).toBeGreaterThan(500)
    const state = all.filter(({ path }) => path.startsWith('var/lib/deputy'))
    expect(state).toEqual([
      {
        path: 'var/lib/deputy',
        mode: 0o700,
        uid: UID,
        gid: UID,
        kind: 'folder',
        size: expect.any(Number) as number,
      },
    ])
    const rest = all.filter(({ path }) => path !== 'var/lib/deputy')
    expect(
      rest.filter(
        ({ uid, gid, kind, mode }) =>
          uid + gid > 0 || kind === 'other' || (kind !== 'link' && (mode & 0o7022) > 0),
      ),
    ).toEqual([])
    // The code is not even root's to change, and everybody may read it.
    const code = rest.filter(({ path, kind }) => path.startsWith(`${HOME}/`) && kind === 'file')
    expect(code.filter(({ mode }) => (mode & 0o222) > 0 || (mode & 0o444) !== 0o444)).toEqual([])
  })

  test('it has no shell, no package manager, no native addon: four programs in all, one of which is Node', () => {
    const programs = files().filter(
      ({ kind, mode, path }) => kind === 'file' && (mode & 0o111) > 0 && !path.startsWith(HOME),
    )
    expect(programs.map(({ path }) => path.split('/').at(-1) ?? '').toSorted()).toEqual([
      'deputy',
      expect.stringMatching(/^ld-linux-[\w-]+\.so\.\d$/),
      'libc.so.6',
      'node',
    ])
    // The kernel runs what may be run, reads it or not; what may not be read is not dumped either.
    expect(programs.find(({ path }) => path === 'usr/local/bin/node')?.mode).toBe(0o111)
    const names = files().map(({ path }) => path)
    expect(
      names.filter((path) =>
        /(?:^|\/)(?:ba|da|z|a)?sh$|busybox|(?:^|\/)(?:apt|apt-get|dpkg-query|npm|npx|yarn|corepack|env)$|\.node$/.test(
          path,
        ),
      ),
    ).toEqual([])
  })

  test('of the checkout it has what runs, unchanged, and neither a test nor a tool', () => {
    const inside = readdirSync(join(image.root, HOME)).toSorted()
    expect(inside).toEqual([
      '.cache',
      'LICENSE',
      'bin',
      'node_modules',
      'package.json',
      'policies',
      'providers',
      'proxy',
      'sbom.cdx.json',
    ])
    expect(readdirSync(join(image.root, HOME, 'bin'))).toEqual(['deputy.js'])
    const list = (at: string): readonly string[] =>
      readdirSync(at, { recursive: true, encoding: 'utf8' }).toSorted()
    for (const part of ['proxy', 'providers'])
      expect(list(join(image.root, HOME, part))).toEqual(list(join(ROOT, part)))
    for (const path of ['proxy/main.ts', 'policies/bundle.tar.gz', 'providers/github.yaml'])
      expect(
        readFileSync(join(image.root, HOME, path)).equals(readFileSync(join(ROOT, path))),
        path,
      ).toBe(true)
    const packages = readdirSync(join(image.root, HOME, 'node_modules'))
    for (const dev of ['node', 'vitest', 'typescript', 'prettier', 'emulate', 'oxlint'])
      expect(packages).not.toContain(dev)
  })

  test('its bill of materials names every package that is in it, and nothing else', () => {
    const bill = JSON.parse(readFileSync(join(image.root, HOME, 'sbom.cdx.json'), 'utf8')) as {
      readonly bomFormat: string
      readonly metadata: { readonly component: { readonly name: string; readonly purl: string } }
      readonly components: readonly { readonly purl: string }[]
    }
    const here = join(image.root, HOME, 'node_modules')
    const installed = readdirSync(here, { recursive: true, encoding: 'utf8' })
      .filter((path) => /^(?:.*node_modules\/)?(?:@[^/]+\/)?[^@/][^/]*\/package\.json$/.test(path))
      .map(
        (path) =>
          JSON.parse(readFileSync(join(here, path), 'utf8')) as {
            readonly name: string
            readonly version: string
          },
      )
      .map(({ name, version }) => `pkg:npm/${name.replace('@', '%40')}@${version}`)
    expect(bill.bomFormat).toBe('CycloneDX')
    expect(bill.metadata.component.name).toBe('deputy-proxy')
    expect(new Set(installed).size).toBeGreaterThan(40)
    expect(new Set(bill.components.map(({ purl }) => purl))).toEqual(new Set(installed))
    // What is not npm's is told as Debian tells it.
    const debian = join(image.root, 'var/lib/dpkg/status.d')
    expect(readdirSync(debian).toSorted()).toEqual([
      'libatomic1',
      'libc6',
      'libgcc-s1',
      'libstdc++6',
    ])
    for (const name of readdirSync(debian)) {
      expect(readFileSync(join(debian, name), 'utf8')).toMatch(/^Package: .*\n[^]*^Version: /m)
      expect(existsSync(join(image.root, 'usr/share/doc', name, 'copyright')), name).toBe(true)
    }
  })

  test('its size is printed', () => {
    const mb = (within: string): number =>
      Math.round(
        files()
          .filter(({ path, kind }) => kind === 'file' && path.startsWith(within))
          .reduce((sum, { size }) => sum + size, 0) / 1e6,
      )
    say(
      `image: ${mb('')} MB, of which Node ${mb('usr/local/bin/node')}, packages ${mb(`${HOME}/node_modules`)}, compiled code ${mb(`${HOME}/.cache`)}, deputy itself ${mb(`${HOME}/p`)}`,
    )
    expect(mb('')).toBeLessThan(200)
  })
})

/** Sockets of a process that listen. */
const listening = (pid: number): readonly string[] => {
  const own = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return [/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? '']
      } catch {
        return [] // closed meanwhile
      }
    }),
  )
  return ['tcp', 'tcp6'].flatMap((name) =>
    readFileSync(`/proc/${pid}/net/${name}`, 'latin1')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((row) => row[3] === '0A' && own.has(row[9] ?? 'none'))
      .map((row) => row[1] ?? ''),
  )
}
const memoryOf = (pid: number): number =>
  Math.round(
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1_000,
  )
/** CPU of a process so far, ms. */
const cpuOf = (pid: number): number =>
  readdirSync(`/proc/${pid}/task`).reduce(
    (sum, task) =>
      sum +
      Number.parseInt(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1'), 10) / 1e6,
    0,
  )
/** Can another process of this user read that file? */
const readable = (path: string, uid: number): boolean =>
  spawnSync('cat', [path], { uid, gid: uid }).status === 0

/** Tells at the end which parts of Node were loaded: `amaro` strips types, which a warm cache makes needless. */
const SPY = `data:text/javascript,${encodeURIComponent(`process.on('exit', () => process.stderr.write('LOADED ' + process.moduleLoadList.join(' ') + '\\n'))`)}`

/** As beside an agent: the pages are another's. */
const ALONE = 'listeners: { agent: "127.0.0.1:0", admin: "127.0.0.1:0", connect: off }'

describe.skipIf(missing !== '')(
  `run by uid ${UID}, root read-only, without a capability${missing}`,
  () => {
    test('the short commands answer, also by name alone', async () => {
      const { version }: { readonly version: string } = JSON.parse(
        readFileSync(join(ROOT, 'package.json'), 'utf8'),
      )
      expect(await run({ args: ['version'] })).toEqual({ code: 0, out: `${version}\n`, err: '' })
      expect(
        await run({ entrypoint: ['/usr/local/bin/deputy'], args: ['version', '--json'] }),
      ).toMatchObject({
        code: 0,
        out: expect.stringContaining(`"node":"${process.version}"`) as string,
      })
      const place = configured(SIDECAR)
      expect(await run({ args: ['validate', '--offline'], mounts: place.mounts })).toMatchObject({
        code: 0,
      })
      expect(await run({ args: ['--help'] })).toMatchObject({
        code: 0,
        out: expect.stringContaining('healthz') as string,
      })
    })

    test('it serves, says so by healthz, and ends by SIGTERM with 0 while somebody is connected; start, memory and compiled code', async () => {
      const place = configured(ALONE)
      const asked = { mounts: place.mounts }
      const starts: { readonly ms: number; readonly cpu: number; readonly mb: number }[] = []
      for (let i = 0; i < 3; i += 1) {
        const began = performance.now()
        const container = start(asked)
        await ready(container)
        const [ms, cpu] = [
          Math.round(performance.now() - began),
          Math.round(cpuOf(container.pid())),
        ]
        const admin = container.address('admin')
        const health = await run({
          entrypoint: ['/usr/local/bin/deputy'],
          args: ['healthz', '--address', admin],
        })
        expect(health).toEqual({ code: 0, out: 'ok\n', err: '' })
        // A probe's connection that is kept, and a second look when nothing happens any more.
        expect(await (await fetch(`http://${admin}/readyz?verbose`)).text()).toContain(
          'readyz check passed',
        )
        // What the start left behind is collected a moment after it is ready.
        await expect.poll(() => memoryOf(container.pid())).toBeLessThan(120)
        starts.push({ ms, cpu, mb: memoryOf(container.pid()) })
        expect((await stop(container)).code, container.said.err).toBe(0)
        expect(
          (
            await run({
              entrypoint: ['/usr/local/bin/deputy'],
              args: ['healthz', '--address', admin],
            })
          ).code,
        ).toBe(1)
      }
      const middle = (pick: 'ms' | 'cpu' | 'mb'): number =>
        starts.map((each) => each[pick]).toSorted((a, b) => a - b)[1] ?? 0
      say(
        `image: ready ${middle('ms')} ms after crun was called, ${middle('cpu')} ms of CPU; ${middle('mb')} MB resident then (medians of 3)`,
      )

      const flags = image.config.Entrypoint.slice(1, -1)
      const spied = await served(
        { ...asked, entrypoint: [NODE, ...flags, '--import', SPY, DEPUTY] },
        () => {},
      )
      expect(spied.err).toContain('LOADED ')
      expect(spied.err).not.toContain('internal/deps/amaro')
      // Another user's start strips types: the look above sees it. It serves all the same.
      const { mounts } = configured(SIDECAR, 1_234)
      const other = await served(
        { mounts, uid: 1_234, entrypoint: [NODE, ...flags, '--import', SPY, DEPUTY] },
        () => {},
      )
      expect(other.code).toBe(0)
      expect(other.err).toContain('internal/deps/amaro')
    })

    test('no signal opens the inspector, and no process of its user looks into it', async () => {
      const { mounts } = configured(SIDECAR)
      await served({ mounts }, async (container) => {
        const before = listening(container.pid())
        expect(before).toHaveLength(3)
        process.kill(container.pid(), 'SIGUSR1')
        // Node itself passes that one over; once the next is told, it would have been answered.
        process.kill(container.pid(), 'SIGUSR2')
        await expect.poll(() => container.said.err).toMatch(/SIGUSR2.*means nothing to deputy/)
        expect(listening(container.pid())).toEqual(before)
        // The same look works on a program that may be read.
        const plain = spawn('sleep', ['60'], { uid: UID, gid: UID })
        await expect.poll(() => readable(`/proc/${plain.pid}/environ`, UID)).toBe(true)
        plain.kill()
        for (const name of ['environ', 'maps', 'auxv'])
          expect(readable(`/proc/${container.pid()}/${name}`, UID), name).toBe(false)
      })
    })

    test('a crash leaves no core, although the container may write them', async () => {
      const { mounts, lib } = configured(SIDECAR)
      const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'latin1').trim()
      const dumped = async (program: string): Promise<readonly string[]> => {
        await run({
          entrypoint: [program],
          args: ['-e', 'process.chdir("/var/lib/deputy"); process.abort()'],
          mounts,
        })
        return readdirSync(lib)
      }
      expect(await dumped(NODE)).toEqual([])
      // Where the kernel writes them beside the process, the same Node as everybody may read it leaves one.
      if (!/^[\w.%-]+$/.test(pattern)) return
      cpSync(join(image.root, NODE), join(lib, 'readable'))
      chmodSync(join(lib, 'readable'), 0o755)
      expect(await dumped('/var/lib/deputy/readable')).not.toEqual(['readable'])
    })

    test('nothing in it can be changed: the root is read-only, and where it is not the user is not asked', async () => {
      const write = `for (const path of ['/${HOME}/proxy/main.ts', '/${HOME}/new', '/${HOME}/.cache/new', '/usr/local/bin/node', '/etc/passwd', '/new'])
      try { require('fs').appendFileSync(path, 'x'); console.log('WROTE', path) } catch (error) { console.log(error.code) }`
      const entrypoint = [NODE, '-e', write]
      expect((await run({ entrypoint, args: [] })).out).toMatch(/^(?:(?:EROFS|EACCES)\n){6}$/)
      expect((await run({ entrypoint, args: [], writableRoot: true })).out).toBe(
        'EACCES\n'.repeat(6),
      )
    })

    test('without what it needs it does not start, and says what to do', async () => {
      expect(await run({})).toMatchObject({
        code: 78,
        err: expect.stringContaining('/etc/deputy/deputy.yaml does not exist') as string,
      })
      const { mounts } = configured(SIDECAR)
      const [config] = mounts
      if (config === undefined) throw new Error('no configuration')
      const unwritable = await run({ mounts: [config] })
      expect(unwritable.code).toBe(78)
      expect(unwritable.err).toContain('the folder /var/lib/deputy cannot be written to (EROFS)')
    })

    test('the play of npm start holds against it', { timeout: 300_000 }, async () => {
      const file = join(folder, 'image.json')
      writeFileSync(file, JSON.stringify({ root: image.root, config: image.config }))
      const state = join(folder, 'play')
      const command = [process.execPath, join(ROOT, 'test/image/run.ts'), file, state].join(' ')
      const play = spawn(
        process.execPath,
        ['bin/run.js', 'test/sandbox/start.ts', '--once', '--dir', state, '--deputy', command],
        { cwd: ROOT },
      )
      let transcript = ''
      for (const stream of [play.stdout, play.stderr])
        stream.on('data', (chunk: Buffer) => (transcript += chunk.toString()))
      const code = await new Promise((resolve) => play.once('close', resolve))
      expect([code, transcript.trimEnd().split('\n').at(-1)], transcript).toEqual([
        0,
        '9 of 9 steps held',
      ])
      // It was the image's deputy: what it wrote is its user's.
      for (const name of ['audit.jsonl', 'deputy.db'])
        expect(lstatSync(join(state, name)).uid).toBe(UID)
      say('image: the play of npm start holds, 9 of 9 steps')
    })
  },
)
