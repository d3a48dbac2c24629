// A tag inside an address, for URLs that clients follow without a key: sealed for this one address, and soon over.
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { Problem } from '../problem.ts'

export type AddressTags = {
  /**
   * @param tag what named the person, as it may stand in the key slot
   * @param host name of the provider's host, lower case
   * @param target path and query as they will be sent
   * @returns a path segment without its `~`
   */
  readonly seal: (tag: string, host: string, target: string) => string
  /** The tag. Throws Problem `unauthenticated` for another address, another key, or once it is over. */
  readonly open: (sealed: string, host: string, target: string) => string
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
    'the tag in this address is over, or was made for another address: ask for the address again',
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
    seal(tag, host, target) {
      const iv = deps.randomBytes(IV_BYTES)
      const cipher = createCipheriv(CIPHER, deps.key, iv).setAAD(bound(host, target))
      const until = Buffer.alloc(TIME_BYTES)
      until.writeUIntBE(deps.now() + LIFE_MS, 0, TIME_BYTES)
      const parts = [iv, cipher.update(until), cipher.update(tag, 'latin1'), cipher.final()]
      return `${PREFIX}${Buffer.concat([...parts, cipher.getAuthTag()]).toString('base64url')}`
    },
    open(sealed, host, target) {
      const bytes = Buffer.from(sealed.slice(PREFIX.length), 'base64url')
      if (bytes.length < IV_BYTES + TIME_BYTES + MAC_BYTES) throw denied()
      const decipher = createDecipheriv(CIPHER, deps.key, bytes.subarray(0, IV_BYTES))
        .setAAD(bound(host, target))
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
      return plain.toString('latin1', TIME_BYTES)
    },
  }
}
