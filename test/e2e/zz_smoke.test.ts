import { test, expect } from 'vitest'
import { startDeputy, startChild } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import { sendRaw, lines } from '../support/raw.ts'
test('smoke', async () => {
  const up = await startUpstream(); up.people.set('tok-alice-000000000','alice')
  const d = await startDeputy({ upstream: up.origin, held: [{ person: 'alice', token: 'tok-alice-000000000' }] })
  const a = await sendRaw(d.agent, lines('GET /api.acme.test/x HTTP/1.1', `Host: ${new URL(d.agent).host}`, 'Deputy-User: alice'))
  console.log(a.raw.toString(), d.logged(), d.addresses, JSON.stringify(d.evidence()), up.bytes().toString())
  await d.close(); 
  const c = await startChild({ upstream: up.origin, held: [{ person: 'alice', token: 'tok-alice-000000000' }] })
  const b = await sendRaw(c.agent, lines('GET /api.acme.test/x HTTP/1.1', `Host: ${new URL(c.agent).host}`, 'Deputy-User: alice'))
  console.log(b.status, c.agent, c.admin, c.connect)
  await c.close(); await up.close()
})
