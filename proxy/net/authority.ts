// A certificate authority of this pod's own, by which a forward proxy may look into what it forwards (RFC 5280): it can vouch
// for the hosts that it was made for and for no other, and what it vouches with lives for a day.
import { constants, createPrivateKey, webcrypto, X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import type * as pkijs from 'pkijs'

export type Authority = { readonly cert: string; readonly key: string }

const DAY_MS = 86_400_000
const LEAF_MS = DAY_MS
/** Hosts whose leaf is kept: where the end of a name suffices, whoever asks invents as many as they like. */
const MOST_LEAVES = 256
/** Clocks of agents may be behind. */
const SKEW_MS = 3_600_000
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' } as const
const OID = {
  commonName: '2.5.4.3',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  nameConstraints: '2.5.29.30',
  subjectAltName: '2.5.29.17',
  subjectKeyIdentifier: '2.5.29.14',
  authorityKeyIdentifier: '2.5.29.35',
  serverAuth: '1.3.6.1.5.5.7.3.1',
} as const
/** dNSName and iPAddress of GeneralName. */
const DNS = 2
const IP = 7

type Kit = typeof pkijs
type Pair = webcrypto.CryptoKeyPair
/** 14 MB, and only whoever forwards needs it. */
const kit = (): Promise<Kit> => import('pkijs')

const pem = (label: string, der: ArrayBuffer): string =>
  `-----BEGIN ${label}-----\n${Buffer.from(der)
    .toString('base64')
    .replaceAll(/.{64}(?=.)/g, '$&\n')}\n-----END ${label}-----\n`
const makePair = (): Promise<Pair> =>
  webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
const keyPem = async ({ privateKey }: Pair): Promise<string> =>
  pem('PRIVATE KEY', await webcrypto.subtle.exportKey('pkcs8', privateKey))

type Der = { readonly toBER: () => ArrayBuffer }
const adderTo =
  ({ Extension }: Kit, cert: pkijs.Certificate) =>
  (extnID: string, value: Der, critical = false): void => {
    cert.extensions ??= []
    cert.extensions.push(new Extension({ extnID, critical, extnValue: value.toBER() }))
  }

type Making = {
  readonly subject: string
  readonly issuer: string
  readonly key: webcrypto.CryptoKey
  readonly from: number
  readonly to: number
}
const certificateOf = async (pki: Kit, making: Making): Promise<pkijs.Certificate> => {
  const { asn1js } = await asn1()
  const cert = new pki.Certificate()
  cert.version = 2
  // RFC 5280 4.1.2.2: positive, at most 20 octets, and never twice.
  const serial = webcrypto.getRandomValues(new Uint8Array(16))
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40
  cert.serialNumber = new asn1js.Integer({ valueHex: serial.buffer })
  for (const [name, value] of [
    [cert.subject, making.subject],
    [cert.issuer, making.issuer],
  ] as const)
    name.typesAndValues.push(
      new pki.AttributeTypeAndValue({
        type: OID.commonName,
        value: new asn1js.Utf8String({ value }),
      }),
    )
  cert.notBefore.value = new Date(making.from)
  cert.notAfter.value = new Date(making.to)
  await cert.subjectPublicKeyInfo.importKey(making.key)
  return cert
}
const asn1 = async () => ({ asn1js: await import('asn1js') })

/** SHA-1 of the public key's bits (RFC 5280 4.2.1.2, method 1): a name for the key, not a proof. */
const keyId = async (cert: pkijs.Certificate): Promise<ArrayBuffer> =>
  webcrypto.subtle.digest(
    'SHA-1',
    new Uint8Array(cert.subjectPublicKeyInfo.subjectPublicKey.valueBlock.valueHexView),
  )
const NAME = 'deputy'

/**
 * Makes an authority for these hosts and what is below them.
 * @param hosts names, and suffixes that begin with a dot
 * @param now ms since the epoch
 */
export const makeAuthority = async (
  hosts: readonly string[],
  now: number,
  days: number,
): Promise<Authority> => {
  const pki = await kit()
  const { asn1js } = await asn1()
  const pair = await makePair()
  const subject = `${NAME} ${Buffer.from(webcrypto.getRandomValues(new Uint8Array(4))).toString('hex')}`
  const cert = await certificateOf(pki, {
    subject,
    issuer: subject,
    key: pair.publicKey,
    from: now - SKEW_MS,
    to: now + days * DAY_MS,
  })
  const id = await keyId(cert)
  const add = adderTo(pki, cert)
  add(
    OID.basicConstraints,
    new pki.BasicConstraints({ cA: true, pathLenConstraint: 0 }).toSchema(),
    true,
  )
  // keyCertSign alone.
  add(
    OID.keyUsage,
    new asn1js.BitString({ valueHex: new Uint8Array([0x04]).buffer, unusedBits: 2 }),
    true,
  )
  add(
    OID.nameConstraints,
    new pki.NameConstraints({
      permittedSubtrees: hosts.map(
        (host) =>
          new pki.GeneralSubtree({
            base: new pki.GeneralName({ type: DNS, value: host.replace(/^\./, '') }),
          }),
      ),
      // A name is all that it vouches for: no address, of either version.
      excludedSubtrees: [8, 32].map(
        (bytes) =>
          new pki.GeneralSubtree({
            base: new pki.GeneralName({
              type: IP,
              value: new asn1js.OctetString({ valueHex: new ArrayBuffer(bytes) }),
            }),
          }),
      ),
    }).toSchema(),
    true,
  )
  add(OID.subjectKeyIdentifier, new asn1js.OctetString({ valueHex: id }))
  await cert.sign(pair.privateKey, 'SHA-256')
  return { cert: pem('CERTIFICATE', cert.toSchema().toBER()), key: await keyPem(pair) }
}

/** The hosts that an authority may vouch for, with what is below them. Throws where this is no such certificate. */
export const permitted = async (pemText: string): Promise<readonly string[]> => {
  const pki = await kit()
  const cert = pki.Certificate.fromBER(new Uint8Array(new X509Certificate(pemText).raw))
  const found = cert.extensions?.find(({ extnID }) => extnID === OID.nameConstraints)
  const trees = (found?.parsedValue as pkijs.NameConstraints | undefined)?.permittedSubtrees ?? []
  return trees.map(({ base }) => String(base.value).toLowerCase())
}
export const permits = (hosts: readonly string[], host: string): boolean =>
  hosts.some((one) => host === one || host.endsWith(`.${one}`))

/**
 * What is shown for a host: made when it is first asked for, and anew before it ends or where the authority is another.
 * @param authority the one in force
 */
export const createLeaves = (
  authority: () => Authority,
  now: () => number,
): ((host: string) => Promise<SecureContext>) => {
  const made = new Map<
    string,
    { readonly by: string; readonly until: number; readonly context: Promise<SecureContext> }
  >()
  const make = async (
    { cert: caPem, key: caKey }: Authority,
    host: string,
  ): Promise<SecureContext> => {
    const pki = await kit()
    const { asn1js } = await asn1()
    const ca = pki.Certificate.fromBER(new Uint8Array(new X509Certificate(caPem).raw))
    const signing = await webcrypto.subtle.importKey(
      'pkcs8',
      createPrivateKey(caKey).export({ type: 'pkcs8', format: 'der' }),
      ALGORITHM,
      false,
      ['sign'],
    )
    const pair = await makePair()
    const [from, to] = [now() - SKEW_MS, now() + LEAF_MS]
    const cert = await certificateOf(pki, {
      subject: 'leaf',
      issuer: 'ca',
      key: pair.publicKey,
      from,
      to,
    })
    cert.issuer = ca.subject
    // RFC 9525: the host is in the alternative name alone; a common name holds no more than 64 letters.
    // The schema's own writing of no name is one name of no parts, which BoringSSL refuses (RFC 5280 4.1.2.4, X.501): Bun, gRPC.
    cert.subject.typesAndValues = []
    cert.subject.valueBeforeDecode = Uint8Array.of(0x30, 0).buffer
    const add = adderTo(pki, cert)
    add(OID.basicConstraints, new pki.BasicConstraints({ cA: false }).toSchema(), true)
    add(
      OID.keyUsage,
      new asn1js.BitString({ valueHex: new Uint8Array([0x80]).buffer, unusedBits: 7 }),
      true,
    )
    add(OID.extendedKeyUsage, new pki.ExtKeyUsage({ keyPurposes: [OID.serverAuth] }).toSchema())
    add(
      OID.subjectAltName,
      new pki.GeneralNames({ names: [new pki.GeneralName({ type: DNS, value: host })] }).toSchema(),
      // Critical, because the subject is empty (RFC 5280 4.2.1.6).
      true,
    )
    add(OID.subjectKeyIdentifier, new asn1js.OctetString({ valueHex: await keyId(cert) }))
    add(
      OID.authorityKeyIdentifier,
      new pki.AuthorityKeyIdentifier({
        keyIdentifier: new asn1js.OctetString({ valueHex: await keyId(ca) }),
      }).toSchema(),
    )
    await cert.sign(signing, 'SHA-256')
    return createSecureContext({
      cert: `${pem('CERTIFICATE', cert.toSchema().toBER())}${caPem}`,
      key: await keyPem(pair),
      minVersion: 'TLSv1.2',
      // Node bounds it for servers of its own alone: each costs the pod far more than the client.
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    })
  }
  return (host) => {
    const own = authority()
    const found = made.get(host)
    const known =
      found !== undefined && found.by === own.cert && found.until > now()
        ? found
        : { by: own.cert, until: now() + LEAF_MS / 2, context: make(own, host) }
    made.delete(host)
    made.set(host, known)
    const [oldest] = made.keys()
    if (made.size > MOST_LEAVES && oldest !== undefined) made.delete(oldest)
    known.context.catch(() => {
      if (made.get(host) === known) made.delete(host)
    })
    return known.context
  }
}
