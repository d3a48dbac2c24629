// Where the policy comes from, and whose signature it must have.
import { createPublicKey, type KeyObject } from 'node:crypto'
import { z } from 'zod'
import { UNITS, duration, insecure, secretText, secure, text, url } from './values.ts'

/** RFC 7518 3.1: what a curve signs with. */
const CURVES: Readonly<Record<string, string>> = {
  prime256v1: 'ES256',
  secp384r1: 'ES384',
  secp521r1: 'ES512',
}
const RSA = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
const RSA_BITS = 2048

export type BundleKey = { readonly key: KeyObject; readonly algorithms: readonly string[] }

/**
 * A public key (PEM) and the algorithms (RFC 7518 3.1, RFC 8037 3.1) that its own kind allows, whatever a signature says of
 * itself. A text: what is wrong with it; it never quotes the key.
 */
export const bundleKeyOf = (pem: string): BundleKey | string => {
  if (!/^-----BEGIN (?:RSA )?PUBLIC KEY-----/.test(pem.trim()))
    return 'is no public key in PEM: name the public half, "${file:./bundle.pub}"; a shared secret (HS256) is not taken, because whoever can check with it can also sign'
  let key: KeyObject
  try {
    key = createPublicKey(pem)
  } catch {
    return 'is no public key in PEM that can be read'
  }
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {}
  const curve = CURVES[namedCurve]
  if (key.asymmetricKeyType === 'ed25519') return { key, algorithms: ['EdDSA'] }
  if (key.asymmetricKeyType === 'ec' && curve !== undefined) return { key, algorithms: [curve] }
  if (key.asymmetricKeyType === 'rsa')
    return modulusLength >= RSA_BITS
      ? { key, algorithms: RSA }
      : `is an RSA key of ${modulusLength} bits: make one of ${RSA_BITS} or more`
  return 'is a key of a kind that signs no bundles: RSA, P-256, P-384, P-521 and Ed25519 do'
}

/** An address of a bundle service, and no path. */
export const isService = (bundle: string): boolean => /^https?:/i.test(bundle)

const publicKey = text.superRefine((value, ctx) => {
  const read = bundleKeyOf(value)
  if (typeof read === 'string') ctx.addIssue(read)
})

export const policy = z
  .strictObject({
    bundle: text.superRefine((value, ctx) => {
      const wrong = isService(value) ? url.safeParse(value).error : undefined
      if (wrong !== undefined) ctx.addIssue(wrong.issues[0]?.message ?? 'is no http(s) URL')
    }),
    data: text.optional(),
    bundle_auth: z.strictObject({ bearer: secretText }).optional(),
    bundle_poll: duration.refine((value) => value >= UNITS.s, 'must be 1s or more').optional(),
    verification: z
      .strictObject({
        keys: z
          .record(z.string().min(1), publicKey)
          .refine((keys) => Object.keys(keys).length > 0, 'must name one key at least'),
        scope: text.optional(),
      })
      .optional(),
    unsigned: z.boolean().default(false),
    data_unsigned: z.boolean().default(false),
    allow_rollback: z.boolean().default(false),
    insecure,
    shadow: text.optional(),
  })
  .superRefine(
    secure(({ bundle, insecure }) => [
      isService(bundle) && URL.canParse(bundle) && !insecure ? bundle : undefined,
    ]),
  )

/** Settings of the policy that contradict each other, or that nothing would carry out. */
export const policyProblems = (of: z.infer<typeof policy>): readonly (string | false)[] => {
  const service = isService(of.bundle)
  const idle = 'policy.bundle is a file or a folder'
  return [
    service &&
      of.verification === undefined &&
      !of.unsigned &&
      'policy.verification: a bundle from a URL must be verified: name the keys, or say unsigned: true',
    of.unsigned &&
      of.verification !== undefined &&
      'policy.unsigned: policy.verification names keys, and an unsigned bundle is refused then: keep one of the two',
    of.unsigned &&
      !service &&
      `policy.unsigned: ${idle}, which needs a signature only where policy.verification names keys: remove it`,
    of.verification !== undefined &&
      of.data !== undefined &&
      !of.data_unsigned &&
      'policy.data: these tables have no signature and take the place of signed ones: build them into the bundle, or say data_unsigned: true',
    of.data_unsigned &&
      (of.verification === undefined || of.data === undefined) &&
      'policy.data_unsigned: is for policy.data beside a bundle that policy.verification checks: remove it',
    of.allow_rollback &&
      of.verification === undefined &&
      'policy.allow_rollback: only a signed bundle says when it was made, so without policy.verification every bundle may be older: remove it',
    ...(['bundle_auth', 'bundle_poll'] as const).map(
      (key) => !service && of[key] !== undefined && `policy.${key}: ${idle}: remove it`,
    ),
    of.insecure && !service && `policy.insecure: ${idle}: remove it`,
    of.shadow !== undefined &&
      isService(of.shadow) &&
      'policy.shadow: a shadow bundle of a bundle service is not built in this version of deputy: remove it',
  ]
}
