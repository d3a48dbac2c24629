// Every way in which a secret may have been written down, for tests that search for it.
import { gunzipSync } from 'node:zlib'

/** Each character as JSON, URLs or HTML may escape it. */
export const ESCAPES = [
  (hex: string) => `\\u00${hex}`,
  (hex: string) => `%${hex}`,
  (hex: string) => `%${hex.toUpperCase()}`,
  (hex: string) => `&#x${hex};`,
] as const
export const escapeEach = (text: string, escape: (hex: string) => string): string =>
  [...Buffer.from(text)].map((byte) => escape(byte.toString(16).padStart(2, '0'))).join('')
/** Every way in which a secret may have been written down. */
export const spellings = (secret: string): readonly Buffer[] => {
  const bytes = Buffer.from(secret)
  const encoded = [0, 1, 2].flatMap((shift) =>
    // Base64 of a text that holds it: what does not touch the neighbours' bits is the same wherever it stands.
    (['base64', 'base64url'] as const).map((code) => {
      const whole = Buffer.concat([Buffer.alloc(shift), bytes])
        .toString(code)
        .replaceAll('=', '')
      return whole.slice(shift === 0 ? 0 : shift + 1, whole.length - 2)
    }),
  )
  return [
    ...new Set([
      secret,
      ...encoded,
      bytes.toString('hex'),
      bytes.toString('hex').toUpperCase(),
      encodeURIComponent(secret),
      JSON.stringify(secret).slice(1, -1),
      secret.replaceAll('/', '\\/'),
      new URLSearchParams([['', secret]]).toString().slice(1),
      ...ESCAPES.map((escape) => escapeEach(secret, escape)),
    ]),
  ].map((text) => Buffer.from(text))
}

/** As it came, and what it says where it is packed. */
export const unpacked = (bytes: Buffer): Buffer =>
  bytes[0] === 0x1f && bytes[1] === 0x8b ? Buffer.concat([bytes, gunzipSync(bytes)]) : bytes
