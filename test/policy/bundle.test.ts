import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { packTar } from 'modern-tar'
import { describe, expect, test } from 'vitest'
import { bundleFromFiles, readBundle } from '../../proxy/policy/bundle.ts'

const shipped = readFileSync(new URL('../../policies/bundle.tar.gz', import.meta.url))
const fixture = (name: string): Buffer =>
  readFileSync(new URL(`../fixtures/policies/${name}.tar.gz`, import.meta.url))

const bytes = (value: unknown): Uint8Array =>
  new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value))
const manifest = {
  revision: 'r1',
  roots: ['deputy', 'deputy_data'],
  wasm: [{ entrypoint: 'deputy/decision', module: '/policy.wasm' }],
}
const good: readonly (readonly [string, Uint8Array])[] = [
  ['/.manifest', bytes(manifest)],
  ['/data.json', bytes({ deputy_data: { a: {} } })],
  ['/policy.wasm', bytes('wasm')],
]
const replaced = (name: string, value: unknown): (readonly [string, Uint8Array])[] => [
  ...good.filter(([known]) => known !== name),
  [name, bytes(value)],
]
const archive = async (entries: Parameters<typeof packTar>[0]): Promise<Buffer> =>
  gzipSync(await packTar(entries))
const file = (
  name: string,
  text: string,
): { header: { name: string; size: number }; body: string } => ({
  header: { name, size: Buffer.byteLength(text) },
  body: text,
})

describe('a bundle that opa built', () => {
  test('is read whole: revision, module, data and manifest', async () => {
    const bundle = await readBundle(shipped)
    expect(bundle.revision).toMatch(/^[0-9a-f]{16}$/)
    expect(bundle.digest).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(Buffer.from(bundle.wasm.subarray(0, 4)).toString()).toBe('\0asm')
    expect(Object.keys(bundle.data)).toEqual(['deputy_data'])
    expect(bundle.manifest['rego_version']).toBe(1)
  })

  test('has a digest that depends on its data and on nothing else in the archive', () => {
    const digest = (files: readonly (readonly [string, Uint8Array])[]): string =>
      bundleFromFiles(files).digest
    expect(digest([...good, ['/deputy/a.rego', bytes('x')]])).toBe(digest(good))
    expect(digest(replaced('/data.json', { deputy_data: { a: [] } }))).not.toBe(digest(good))
  })
})

describe('a bundle is refused', () => {
  const cases: readonly (readonly [string, readonly (readonly [string, Uint8Array])[], RegExp])[] =
    [
      ['without a manifest', good.slice(1), /no \.manifest/],
      ['without a module', good.slice(0, 2), /no policy\.wasm/],
      [
        'without entry points',
        replaced('/.manifest', { ...manifest, wasm: [] }),
        /no entry point deputy\/decision/,
      ],
      [
        'that was never compiled',
        replaced('/.manifest', { roots: ['deputy'] }),
        /build with -t wasm/,
      ],
      [
        'without roots, which owns everything',
        replaced('/.manifest', { wasm: manifest.wasm }),
        /root "" is none/,
      ],
      [
        'with a foreign root',
        replaced('/.manifest', { ...manifest, roots: ['deputy', 'kube'] }),
        /root "kube"/,
      ],
      [
        'with a root that only begins alike',
        replaced('/.manifest', { ...manifest, roots: ['deputy_more'] }),
        /deputy_more/,
      ],
      [
        'with data outside its roots',
        replaced('/data.json', { kube: {} }),
        /data\.kube lies outside/,
      ],
      ['with optimised entries', [...good, ['/optimized/deputy.rego', bytes('')]], /-O 0/],
      [
        'that is signed, whatever the signature says, while nobody checks it',
        [...good, ['/.signatures.json', bytes({ signatures: ['eyJ'] })]],
        /it is signed \(\.signatures\.json\), and nothing says whose signature counts/,
      ],
      ['that is a delta', [...good, ['/patch.json', bytes({ data: [] })]], /delta bundle/],
      ['with an entry twice', [...good, ['data.json', bytes({})]], /data\.json is there twice/],
      ['with a name that leaves it', [...good, ['../x', bytes('')]], /not a name inside/],
      [
        'with a duplicate key',
        replaced('/data.json', '{"deputy_data":{"a":1,\n"a":2}}'),
        /data\.json: line 2: key "a"/,
      ],
      [
        'with data too deep',
        replaced('/data.json', `{"deputy_data":${'['.repeat(64)}${']'.repeat(64)}}`),
        /deeper than 64/,
      ],
      ['with data that is no JSON', replaced('/data.json', '{"deputy_data":'), /data\.json: /],
      [
        'with data that is not UTF-8',
        [...good.slice(0, 1), ['/data.json', new Uint8Array([0x7b, 0xff])], ...good.slice(2)],
        /UTF-8/,
      ],
      [
        'with two files for one key',
        [
          ...good,
          ['/deputy_data/a/data.json', bytes({})],
          ['/deputy_data/data.json', bytes({ a: 1 })],
        ],
        /already holds "(a|deputy_data)"/,
      ],
    ]
  test.each(cases)('%s', (_name, files, message) => {
    expect(() => bundleFromFiles(files)).toThrow(message)
  })

  test('with every problem in one message', () => {
    expect(() => bundleFromFiles([['/patch.json', bytes({})]])).toThrow(
      /delta bundle[^]*no \.manifest[^]*no policy\.wasm/,
    )
  })

  test('when opa optimised it', async () => {
    await expect(readBundle(fixture('optimised'))).rejects.toThrow(/-O 0/)
  })

  test('when it was compiled for another entry point', async () => {
    await expect(readBundle(fixture('other_entry'))).rejects.toThrow(
      /no entry point deputy\/decision/,
    )
  })
})

describe('an archive is refused', () => {
  test('when it is no gzip file, or no tar inside', async () => {
    await expect(readBundle(bytes('hello'))).rejects.toThrow(/not a gzip file/)
    await expect(readBundle(gzipSync('hello'.repeat(500)))).rejects.toThrow(/not a tar archive/)
  })

  test('when it is cut short, at any place', async () => {
    for (const part of [0.1, 0.5, 0.9, 0.999])
      await expect(readBundle(shipped.subarray(0, shipped.length * part))).rejects.toThrow(
        /cannot be used/,
      )
  })

  test('when the tar inside is cut short', async () => {
    const tar = await packTar([
      file('.manifest', JSON.stringify(manifest)),
      file('policy.wasm', 'x'.repeat(5000)),
    ])
    await expect(readBundle(gzipSync(tar.subarray(0, 3000)))).rejects.toThrow(/cannot be used/)
  })

  test('when it unpacks to more than 16 MiB', async () => {
    await expect(readBundle(gzipSync(Buffer.alloc(17 * 1024 * 1024)))).rejects.toThrow(
      /more than 16 MiB/,
    )
  })

  test('when it holds more than 1,000 entries', async () => {
    const many = Array.from({ length: 1001 }, (_, i) => file(`deputy/${i}.rego`, ''))
    await expect(readBundle(await archive(many))).rejects.toThrow(/more than 1000/)
  })

  test('when an entry is a link', async () => {
    const link = {
      header: { name: 'data.json', size: 0, type: 'symlink' as const, linkname: '/etc/passwd' },
    }
    await expect(readBundle(await archive([link]))).rejects.toThrow(/is a symlink/)
  })
})
