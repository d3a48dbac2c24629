// Bundles that are made and signed here, and a bundle service that answers with them, or with whatever a test wants.
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { CompactSign } from 'jose'
import { packTar } from 'modern-tar'
import { unpackBundle } from '../../proxy/policy/bundle.ts'

export type Files = Readonly<Record<string, string | Uint8Array>>
type Claims = { readonly [name: string]: unknown }
export type Signer = {
  readonly alg: string
  readonly key: KeyObject | Uint8Array
  readonly kid?: string
  /** Beside the files. */
  readonly claims?: Claims
  /** In place of the files as they are. */
  readonly files?: readonly unknown[]
}
export type Pair = { readonly pem: string; readonly privateKey: KeyObject }

const pairOf = ({
  publicKey,
  privateKey,
}: {
  publicKey: KeyObject
  privateKey: KeyObject
}): Pair => ({
  pem: publicKey.export({ type: 'spki', format: 'pem' }),
  privateKey,
})
export const ecPair = (namedCurve = 'P-256'): Pair =>
  pairOf(generateKeyPairSync('ec', { namedCurve }))
export const rsaPair = (modulusLength = 2048): Pair =>
  pairOf(generateKeyPairSync('rsa', { modulusLength }))

const odd = await unpackBundle(
  readFileSync(new URL('../fixtures/policies/odd.tar.gz', import.meta.url)),
)
const WASM = odd.find(([name]) => name.endsWith('policy.wasm'))?.[1] ?? new Uint8Array()

const text = (value: unknown): string => JSON.stringify(value)
/** A small bundle that deputy takes. Its documents are in canonical JSON, so that their bytes are what is hashed. */
export const filesOf = (revision: string, data: object = {}, more: Files = {}): Files => ({
  '.manifest': text({
    revision,
    roots: ['deputy', 'deputy_data'],
    wasm: [{ entrypoint: 'deputy/decision', module: '/policy.wasm' }],
  }),
  'data.json': text({ deputy_data: data }),
  'policy.wasm': WASM,
  ...more,
})
const bytesOf = (value: string | Uint8Array): Uint8Array =>
  typeof value === 'string' ? new TextEncoder().encode(value) : value
const sorted = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(sorted)
    : typeof value === 'object' && value !== null
      ? Object.fromEntries(
          Object.entries(value)
            .toSorted(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, inner]) => [key, sorted(inner)]),
        )
      : value
/** As `opa sign` lists a file. */
export const listed = (name: string, value: string | Uint8Array) => ({
  name,
  hash: createHash('sha256')
    .update(
      /(?:^|\/)(?:data\.json|\.manifest)$/.test(name)
        ? text(sorted(JSON.parse(Buffer.from(bytesOf(value)).toString())))
        : bytesOf(value),
    )
    .digest('hex'),
  algorithm: 'SHA-256',
})
export const signed = async (files: Files, signer: Signer): Promise<Files> => {
  const { alg, key, kid, claims = {} } = signer
  const rows = signer.files ?? Object.entries(files).map(([name, value]) => listed(name, value))
  const token = await new CompactSign(bytesOf(text({ files: rows, ...claims })))
    .setProtectedHeader({ alg, typ: 'JWT', ...(kid === undefined ? {} : { kid }) })
    .sign(key)
  return { ...files, '.signatures.json': text({ signatures: [token] }) }
}
type Entries = readonly (readonly [string, string | Uint8Array])[]
/** A .tar.gz; as a list a name may come twice. */
export const archive = async (files: Files | Entries): Promise<Buffer> =>
  gzipSync(
    await packTar(
      (Array.isArray(files) ? (files as Entries) : Object.entries(files as Files)).map(
        ([name, value]) => {
          const body = bytesOf(value)
          return { header: { name: `/${name}`, size: body.length }, body }
        },
      ),
    ),
  )

export type BundleService = {
  readonly origin: string
  readonly url: string
  /** The headers of each question. */
  readonly asked: IncomingMessage['headers'][]
  /** From now on this answers. */
  readonly answer: (handler: RequestListener) => void
  /** From now on it has this bundle, with an ETag, and 304 for who has it. */
  readonly put: (bytes: Uint8Array) => void
  /** From now on it has this bundle, and who has it is held until there is another. */
  readonly hold: (bytes: Uint8Array) => void
  readonly close: () => Promise<void>
}

export const startBundleService = async (): Promise<BundleService> => {
  const asked: IncomingMessage['headers'][] = []
  const held = new Set<() => void>()
  let handler: RequestListener = (_req, res) => void res.writeHead(404).end()
  const server = createServer((req, res) => {
    asked.push(req.headers)
    handler(req, res)
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const free = (): void => {
    for (const each of held) each()
    held.clear()
  }
  const give = (bytes: Uint8Array, type: string) => {
    const etag = `"${createHash('sha256').update(bytes).digest('hex')}"`
    return (req: IncomingMessage, res: ServerResponse): boolean => {
      if (req.headers['if-none-match'] === etag) return false
      res.writeHead(200, { 'content-type': type, etag, 'content-length': bytes.length }).end(bytes)
      return true
    }
  }
  const answer = (next: RequestListener): void => {
    handler = next
    free()
  }
  return {
    origin,
    url: `${origin}/bundles/deputy.tar.gz`,
    asked,
    answer,
    put: (bytes) => {
      const given = give(bytes, 'application/gzip')
      answer((req, res) => {
        if (!given(req, res)) res.writeHead(304).end()
      })
    },
    hold: (bytes) => {
      const type = 'application/vnd.openpolicyagent.bundles'
      const given = give(bytes, type)
      answer((req, res) => {
        if (given(req, res)) return
        const wait = Number(/wait=(\d+)/.exec(String(req.headers['prefer']))?.[1] ?? 0)
        const timer = setTimeout(() => {
          held.delete(again)
          res.writeHead(304, { 'content-type': type }).end()
        }, wait * 1_000)
        const again = (): void => {
          clearTimeout(timer)
          handler(req, res)
        }
        held.add(again)
      })
    },
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => {
        server.close(resolve)
      })
    },
  }
}
