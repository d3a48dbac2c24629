// Some URLs are followed without a key, so the tag goes into the address itself: sealed, good for
// that address alone, and for a short time.
import { createCipheriv, createDecipheriv } from 'node:crypto'
import type { Target } from '../model.ts'
import { Problem } from '../problem.ts'
import { targetText } from './canonical.ts'

export type AddressTags = {
  /**
   * @param tag what named the person, as it may stand in the key slot
   * @param to.host name of the provider's host, lower case
   * @param to.target path and query as they will be sent
   * @param to.methods what the address may be called with; HEAD is as good as GET
   * @returns a path segment without its `~`
   */
  readonly seal: (
    tag: string,
    to: { readonly host: string; readonly target: string; readonly methods: readonly string[] },
  ) => string
  /**
   * The tag. Throws Problem `unauthenticated` for another address, method or key, or once it is
   * over.
   */
  readonly open: (sealed: string, host: string, target: Target) => string
}

const PREFIX = 'dps_'
const CIPHER = 'aes-256-gcm'
const [IV_BYTES, MAC_BYTES, TIME_BYTES] = [12, 16, 6]
/** A client follows such an address at once; ms. */
const LIFE_MS = 10 * 60_000

/** Is this path segment one of ours, and not a person's name? */
export const isAddressTag = (named: string | null): named is string =>
  named?.startsWith(PREFIX) === true

const denied = (): Problem =>
  new Problem(
    'unauthenticated',
    'the tag in this address is over, or was made for another address or method: ask for the address again',
  )

/**
 * @param deps.key 32 bytes, the same at every replica
 * @param deps.now ms since the epoch
 */
export const createAddressTags = (deps: {
  readonly key: Buffer
  readonly randomBytes: (size: number) => Buffer
  readonly now: () => number
}): AddressTags => {
  const bound = (host: string, target: string): Buffer => Buffer.from(`${host} ${target}`)
  return {
    seal(tag, { host, target, methods }) {
      const iv = deps.randomBytes(IV_BYTES)
      const cipher = createCipheriv(CIPHER, deps.key, iv).setAAD(bound(host, target))
      const until = Buffer.alloc(TIME_BYTES)
      until.writeUIntBE(deps.now() + LIFE_MS, 0, TIME_BYTES)
      const plain = `${methods.join()} ${tag}`
      const parts = [iv, cipher.update(until), cipher.update(plain, 'latin1'), cipher.final()]
      return `${PREFIX}${Buffer.concat([...parts, cipher.getAuthTag()]).toString('base64url')}`
    },
    open(sealed, host, target) {
      const bytes = Buffer.from(sealed.slice(PREFIX.length), 'base64url')
      if (bytes.length < IV_BYTES + TIME_BYTES + MAC_BYTES) throw denied()
      const decipher = createDecipheriv(CIPHER, deps.key, bytes.subarray(0, IV_BYTES))
        .setAAD(bound(host, targetText(target)))
        .setAuthTag(bytes.subarray(-MAC_BYTES))
      let plain: Buffer
      try {
        plain = Buffer.concat([
          decipher.update(bytes.subarray(IV_BYTES, -MAC_BYTES)),
          decipher.final(),
        ])
      } catch {
        throw denied()
      }
      if (plain.readUIntBE(0, TIME_BYTES) <= deps.now()) throw denied()
      const text = plain.toString('latin1', TIME_BYTES)
      const space = text.indexOf(' ')
      const method = target.method === 'HEAD' ? 'GET' : target.method
      if (!text.slice(0, space).split(',').includes(method)) throw denied()
      return text.slice(space + 1)
    },
  }
}
