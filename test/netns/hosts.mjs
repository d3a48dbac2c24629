// The world outside of the pod: a provider, an identity provider, strangers, resolvers. One line of JSON on standard output for whatever comes in.
import dgram from 'node:dgram'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'

/** names: host name → IPv4 address; people: token → name; jwks, tls: paths or null */
const { names, people, issuer, jwks, tls } = JSON.parse(process.argv[2] ?? '')
const keySet = jwks === null ? '' : readFileSync(jwks)
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`)

const json = (res, value) =>
  res.setHeader('content-type', 'application/json').end(JSON.stringify(value))
const answer = (req, res) => {
  const from = req.socket.remoteAddress?.replace('::ffff:', '')
  const bearer = (req.headers.authorization ?? '').replace('Bearer ', '')
  tell({ http: req.headers.host, path: req.url, from })
  if (req.url === '/.well-known/openid-configuration')
    json(res, { issuer, jwks_uri: `${issuer}/keys` })
  else if (req.url === '/keys') res.end(keySet)
  else if (req.url === '/oauth/token')
    json(res, {
      access_token: Object.keys(people)[0],
      token_type: 'Bearer',
      expires_in: 3600,
    })
  else json(res, { saw: from, login: people[bearer] ?? null })
}

/** Answers a question for an address of a name (RFC 1035 4.1); no such name: an empty answer. */
const dnsAnswer = (message) => {
  const labels = []
  let at = 12
  for (let size = message[at]; size > 0; size = message[at]) {
    labels.push(message.toString('latin1', at + 1, at + 1 + size))
    at += size + 1
  }
  const [name, type] = [labels.join('.'), message.readUInt16BE(at + 1)]
  const address = type === 1 && Object.hasOwn(names, name) ? names[name] : null
  const head = Buffer.from(message.subarray(0, 12))
  head.writeUInt16BE(0x8180, 2)
  head.writeUInt16BE(address === null ? 0 : 1, 6)
  head.fill(0, 8)
  const found =
    address === null
      ? []
      : [Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split('.').map(Number)])]
  return { name, bytes: Buffer.concat([head, message.subarray(12, at + 5), ...found]) }
}

const udp = (address, port) => {
  const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4')
  socket.on('message', (message, { address: from, port: back }) => {
    const dns = port === 53 && message.length > 12 ? dnsAnswer(message) : null
    tell(dns === null ? { udp: address, port, from } : { dns: dns.name, at: address, from })
    socket.send(dns?.bytes ?? 'pong', back, from)
  })
  return new Promise((resolve) => socket.bind(port, address, resolve))
}
const listen = (server, port) =>
  new Promise((resolve) => {
    server.on('connection', ({ remoteAddress, localAddress, localPort }) =>
      tell({
        tcp: localAddress.replace('::ffff:', ''),
        port: localPort,
        from: remoteAddress?.replace('::ffff:', ''),
      }),
    )
    server.listen(port, '::', resolve)
  })

const secure =
  tls === null
    ? http.createServer(answer)
    : https.createServer({ cert: readFileSync(tls.cert), key: readFileSync(tls.key) }, answer)
await Promise.all([
  listen(secure, 443),
  listen(http.createServer(answer), 80),
  ...['198.51.100.10', '203.0.113.7', '2001:db8:2::10'].map((address) => udp(address, 443)),
  ...['192.0.2.1', '203.0.113.7'].map((address) => udp(address, 53)),
])
tell({ ready: true })
