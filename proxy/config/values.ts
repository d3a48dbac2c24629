// Values of the configuration, one at a time: durations, sizes, addresses, secrets, names.
import { createHash, createPrivateKey, createSecretKey } from 'node:crypto'
import { isIP } from 'node:net'
import { z } from 'zod'
import { secret } from '../secret.ts'
import { plainHttp } from './address.ts'

export const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
export const SIZES = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const

const unit = <T extends Record<string, number>>(units: T, what: string, example: string) =>
  z
    .string()
    .meta({ title: what })
    .transform((text, ctx) => {
      const match = /^(\d{1,12})([A-Za-z]{1,3})$/.exec(text)
      const factor =
        match?.[2] !== undefined && Object.hasOwn(units, match[2]) ? units[match[2]] : undefined
      if (match === null || factor === undefined) {
        ctx.addIssue(`is no ${what}: write a number and a unit, such as ${example}`)
        return z.NEVER
      }
      return Number(match[1]) * factor
    })
/** `30s`, `1h` → ms. */
export const duration = unit(UNITS, 'duration', '30s')
/** `1MiB` → bytes. */
export const size = unit(SIZES, 'size', '1MiB')

/** More than nothing. */
export const some = (schema: typeof duration) =>
  schema.refine((value) => value > 0, 'must be more than nothing')

export type Listen = { readonly host: string; readonly port: number } | { readonly path: string }

export const listen = z
  .string()
  .meta({ title: 'address' })
  .transform((text, ctx): Listen => {
    if (text.startsWith('unix:') && text.length > 5) return { path: text.slice(5) }
    const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
    const port = Number(match?.[3])
    if (match === null || port > 65_535) {
      ctx.addIssue('is no address: write host:port such as 127.0.0.1:7410, or unix:PATH')
      return z.NEVER
    }
    return { host: match[1] ?? match[2] ?? '', port }
  })
export const tcp = listen.transform((address, ctx) => {
  if (!('path' in address)) return address
  ctx.addIssue('must be host:port here')
  return z.NEVER
})
export const off = z.literal('off').transform(() => null)

export const text = z.string().min(1, 'must not be empty')
export const secretText = text.transform(secret)
/** 24 to 64 bytes: https://www.standardwebhooks.com, "Signature scheme". */
const WEBHOOK_KEY =
  /^whsec_(?=.{32,88}$)(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
/** Signs what is posted; as a KeyObject it prints nothing of itself. */
export const signingKey = text
  .refine(
    (value) => !value.startsWith('whsec_') || WEBHOOK_KEY.test(value),
    'is no key of Standard Webhooks: behind whsec_ must be base64 of 24 to 64 bytes',
  )
  .transform((value) => createSecretKey(Buffer.from(value)))
/** A private key of our own, as JWK or PEM; what is wrong with it never quotes it. */
export const privateKey = text
  .refine((value) => {
    try {
      return value.trim().startsWith('{')
        ? createPrivateKey({ key: JSON.parse(value) as Record<string, unknown>, format: 'jwk' })
            .type === 'private'
        : createPrivateKey(value).type === 'private'
    } catch {
      return false
    }
  }, 'is no private key: name a file with a private JWK or an unencrypted PEM, ${file:./client.pem}')
  .transform(secret)

/** For comparison in constant time. As JSON it would still tell who holds the same bearer elsewhere. */
const digestOf = (value: string): Buffer =>
  Object.defineProperty(createHash('sha256').update(value).digest(), 'toJSON', {
    value: () => '[redacted]',
  })
const SHORT = 'must be 32 bytes or more'
/** Kept as a digest only. */
export const bearer = z.string().min(32, SHORT).transform(digestOf)
/** One, or two while one takes the place of the other. */
export const bearers = z.union([z.string(), z.array(z.string())]).transform((value, ctx) => {
  const all = [value].flat()
  if (all.length === 0 || all.length > 2) ctx.addIssue('must be one secret, or a list of two')
  if (all.some((one) => one.length < 32)) ctx.addIssue(SHORT)
  return all.map(digestOf)
})

/** An http(s) URL; plain http only to loopback, or with `insecure: true` at that entry (checked by the entry). */
export const url = z
  .string()
  .meta({ title: 'URL' })
  .transform((value, ctx) => {
    const parsed = URL.canParse(value) ? new URL(value) : null
    if (
      parsed === null ||
      (parsed.protocol !== 'https:' && parsed.protocol !== 'http:') ||
      parsed.username !== ''
    ) {
      ctx.addIssue('is no http(s) URL')
      return z.NEVER
    }
    return value
  })
export const secure =
  <T extends { readonly insecure: boolean }>(pick: (entry: T) => readonly (string | undefined)[]) =>
  (entry: T, ctx: z.RefinementCtx): void => {
    for (const value of pick(entry))
      if (value !== undefined && !entry.insecure && plainHttp(value))
        ctx.addIssue(
          `${value} is plain http to another machine: use https, or say insecure: true here`,
        )
  }
export const insecure = z.boolean().default(false)
export const origin = url.refine(
  (value) => new URL(value).origin === value,
  'must be an origin: scheme, host and port only',
)
/** Names below which the pages have something of their own. */
const TAKEN =
  /^(?:v1|connect|callback|connections|agents|result|problems|sign-in|sign-out|style\.css|logo|console|scim|signals|logout)$/
/** An origin, and where it shares that with others a path below which the pages are. */
export const pagesUrl = url.superRefine((value, ctx) => {
  const { origin: at, pathname } = new URL(value)
  const path = pathname.replace(/\/$/, '')
  if (value.replace(/\/$/, '') !== `${at}${path}` || !/^(?:\/[A-Za-z0-9._~-]+)*$/.test(path))
    ctx.addIssue(
      'must be an origin, with a path where the pages share it with others: https://apps.example/deputy',
    )
  else if (TAKEN.test(path.split('/')[1] ?? ''))
    ctx.addIssue(
      `must not begin its path with ${path.split('/')[1] ?? ''}: the pages have that name`,
    )
})
export const network = z
  .string()
  .refine(
    (value) => /^[^/]+(?:\/\d{1,3})?$/.test(value) && isIP(value.split('/')[0] ?? '') !== 0,
    'is no address and no network: write 10.1.2.3 or 10.1.0.0/16',
  )
export const pointer = z
  .string()
  .regex(/^(?:\/[^/]*)*$/, 'is no JSON pointer: begin with /')
  .meta({ title: 'JSON pointer' })
export const name = z.string().regex(/^[a-z0-9][a-z0-9-]*$/, 'must match [a-z0-9][a-z0-9-]*')
