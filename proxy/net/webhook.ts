// Signs what deputy posts to a service of the team's own, as https://www.standardwebhooks.com says.
import type { KeyObject } from 'node:crypto'
import { Webhook } from 'standardwebhooks'

/** `whsec_` and base64, as Standard Webhooks writes keys; any other text is the key itself. */
const webhookOf = (key: KeyObject): Webhook => {
  const bytes = key.export()
  const text = bytes.toString()
  return text.startsWith('whsec_') ? new Webhook(text) : new Webhook(bytes, { format: 'raw' })
}

/** Headers by which a receiver knows that deputy sent this body, and when (`atMs`: ms since the epoch). */
export const createSigner = (
  key: KeyObject,
): ((id: string, atMs: number, body: string) => Readonly<Record<string, string>>) => {
  const webhook = webhookOf(key)
  return (id, atMs, body) => ({
    'webhook-id': id,
    'webhook-timestamp': `${Math.floor(atMs / 1_000)}`,
    'webhook-signature': webhook.sign(id, new Date(atMs), body),
  })
}
