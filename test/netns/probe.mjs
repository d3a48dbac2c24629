// Tries to reach what it is told to, and says of each whether anything came back: { NAME: "reached ..." | "refused CODE" | "silent" }.
import dgram from 'node:dgram'
import http from 'node:http'
import net from 'node:net'

/** What is refused says so at once; what is let through may be lost once on a busy machine. */
const MS = 20_000
const AGAIN_MS = 500
const tries = {
  http: ({ host, port, path = '/', headers = {} }, said) => {
    const req = http.get({ host, port, path, headers, agent: false, timeout: MS }, (res) => {
      let text = ''
      res.on('data', (chunk) => (text += chunk))
      res.on('end', () => said(`reached ${res.statusCode} ${text.slice(0, 200)}`))
    })
    req.on('timeout', () => req.destroy(new Error('silent')))
    req.on('error', ({ code }) => said(code === undefined ? 'silent' : `refused ${code}`))
  },
  tcp: ({ host, port }, said) => {
    const socket = net.connect({ host, port, timeout: MS }, () => said('reached'))
    socket.on('timeout', () => said('silent'))
    socket.on('error', ({ code }) => said(`refused ${code}`))
  },
  udp: ({ host, port, text = 'ping' }, said) => {
    const socket = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4')
    const failed = ({ code }) => said(`refused ${code}`)
    socket.on('message', () => said('reached'))
    socket.on('error', failed)
    setTimeout(() => said('silent'), MS)
    const send = () =>
      socket.send(Buffer.from(text, 'latin1'), (error) => {
        if (error) failed(error)
        else setTimeout(send, AGAIN_MS)
      })
    socket.connect(port, host, send)
  },
}
const asked = JSON.parse(process.argv[2] ?? '')
const answers = await Promise.all(
  asked.map(
    ({ name, kind, ...to }) =>
      new Promise((resolve) => tries[kind](to, (said) => resolve([name, said]))),
  ),
)
process.stdout.write(JSON.stringify(Object.fromEntries(answers)))
process.exit(0)
