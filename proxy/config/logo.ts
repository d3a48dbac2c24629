// `connect.brand.logo`: a file of the operator's, sent from our own origin and shown as an image only.

export type Logo = {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly type: 'image/png' | 'image/svg+xml'
}

const MOST_BYTES = 65_536
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
/** What an image of an `<img>` never needs: scripts, handlers, foreign content, entities and references outside. */
const ACTIVE =
  /<script|<foreignObject|<iframe|<!ENTITY|\son\w+\s*=|javascript:|(?:href|src)\s*=\s*["']?\s*(?!["']?\s*#)[^\s"'>]/i

/** @returns the image by what it holds, whatever its file is called, or why it is not shown */
export const readLogo = (file: Buffer): Logo | string => {
  if (file.length > MOST_BYTES) return `is larger than ${MOST_BYTES} bytes`
  const bytes = new Uint8Array(file)
  if (file.subarray(0, PNG.length).equals(PNG)) return { bytes, type: 'image/png' }
  const text = file.toString('utf8')
  if (!/^\uFEFF?\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--[\s\S]*?-->\s*)*<svg[\s>]/.test(text))
    return 'is neither a PNG nor an SVG image'
  if (ACTIVE.test(text)) return 'is an SVG with a script, a handler, or a reference to elsewhere'
  return { bytes, type: 'image/svg+xml' }
}
