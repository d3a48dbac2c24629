// Opens a batch of any format: the calls in it, and what will be sent of it. Pure: bytes in, calls out, or a refusal.
import type { EnvelopeFormat, InnerCall, Route } from '../model.ts'
import { readGraphBatch } from './graph_batch.ts'
import { readMultipartBatch } from './multipart_batch.ts'
import { readComposite } from './salesforce_composite.ts'

/** The one type of a batch's body. */
export const typeOfBatch = (format: EnvelopeFormat): string =>
  format === 'multipart_batch' ? 'multipart/mixed' : 'application/json'

export type Sent = {
  readonly bytes: Buffer
  /** The parsed body, where it is JSON. */
  readonly value: unknown
  readonly contentType: string
}

/**
 * @throws Problem request_invalid, credential_in_body; the detail says which part
 */
export const readBatch = (
  format: EnvelopeFormat,
  { bytes, value, contentType }: Sent,
  { connection: { provider }, host, addressing, target }: Route,
): { readonly calls: readonly InnerCall[]; readonly bytes: Buffer } => {
  if (format === 'multipart_batch') {
    const prefix = addressing.kind === 'path' ? `${addressing.prefix}${host}` : null
    return readMultipartBatch(bytes, contentType, { provider, host, prefix })
  }
  if (format === 'graph_batch') {
    const root = target.path.slice(0, target.path.lastIndexOf('/'))
    return { calls: readGraphBatch(value, root, provider), bytes }
  }
  const { method, segments } = target
  return { calls: readComposite(format, value, { method, segments, provider }), bytes }
}
