// Pages on a port of loopback, in the frame and with the headers that deputy sends them with.
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { notFoundPage } from '../../proxy/people/consent_pages.ts'
import { STYLE, type Page } from '../../proxy/people/markup.ts'
import { createFrame } from '../../proxy/people/page.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'

export type Gallery = { readonly url: string; readonly close: () => void }

/** Each page at its name. `furnish` adds what else they ask for. */
export const serveGallery = async (
  pages: Readonly<Record<string, () => Page>>,
  more: Partial<Parameters<typeof createFrame>[0]> = {},
  furnish: (app: Hono) => void = () => {},
): Promise<Gallery> => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const frame = createFrame({
    sealer: createSealer(parseKeyRing(newKeyRing(0, randomBytes))),
    clock: { now: () => Date.now(), mono: () => performance.now() },
    publicUrl: url,
    ...more,
  })
  const app = new Hono()
  app.get('/style.css', (c) => c.body(STYLE, 200, { 'Content-Type': 'text/css; charset=utf-8' }))
  furnish(app)
  app.get('/:name', (c) => frame.show(c, (pages[c.req.param('name')] ?? notFoundPage)()))
  const listener = getRequestListener(app.fetch)
  server.on('request', (request, response) => void listener(request, response))
  return {
    url,
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}
