// A transmitter of Shared Signals in the configuration: its keys, and what goes together.
import { z } from 'zod'
import { insecure, pointer, secretText, secure, text, url } from './values.ts'

export const signal = z
  .strictObject({
    issuer: url,
    audience: z.union([text.transform((one) => [one]), z.array(text).min(1)]).optional(),
    push: z.boolean().default(false),
    poll: url.optional(),
    manage: z.boolean().default(false),
    bearer: secretText.optional(),
    client_id: text.optional(),
    client_secret: secretText.optional(),
    token: url.optional(),
    scope: text.default('ssf.manage ssf.read'),
    jwks_uri: url.optional(),
    user: pointer.optional(),
    realm: text.optional(),
    tenant: text.optional(),
    insecure,
  })
  .superRefine(secure((entry) => [entry.issuer, entry.jwks_uri, entry.poll, entry.token]))
  .superRefine((entry, ctx) => {
    const { push, poll, manage, bearer: shown, client_id: id, client_secret: secret } = entry
    const client = [id, secret, entry.token].filter((value) => value !== undefined).length
    if (!manage && !push && poll === undefined)
      ctx.addIssue('needs push: true, or poll with the URL where its events wait')
    if (!manage && entry.audience === undefined)
      ctx.addIssue({
        code: 'custom',
        path: ['audience'],
        message: 'say what its events have as aud',
      })
    if (manage && poll !== undefined)
      ctx.addIssue('poll: with manage: true the transmitter says where events wait: remove it')
    if (manage && shown === undefined && client === 0)
      ctx.addIssue('manage: needs a bearer, or a client_id with client_secret and token')
    if (client !== 0 && client !== 3)
      ctx.addIssue('client_id: needs client_secret and token, and they need it')
    if (client !== 0 && shown !== undefined)
      ctx.addIssue(
        'bearer: there is a client_id too: deputy gets its own token with it, so keep one',
      )
  })
export type SignalConfig = z.infer<typeof signal>
