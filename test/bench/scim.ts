// An identity provider that pushes everybody for the first time: people, then groups of them, by SCIM.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { startChild } from '../support/deputy.ts'
import { say, type Size } from './calls.ts'
import { n, type Section } from './report.ts'

const PEOPLE = 100_000
const CLIENTS = 16
const MEMBERS = 1_000
const BEARER = 'bench-scim-bearer-0123456789abcdef0123'

export const measureScim = async (size: Size): Promise<Section> => {
  const people = size.quick ? 100 : PEOPLE
  const deputy = await startChild({
    upstream: 'http://127.0.0.1:9',
    config: {
      entitlements: { source: 'scim', scim: { bearer: BEARER, trust_push: true } },
      connect: { sign_in: 'local' },
    },
  })
  let wrong = 0
  const post = async (path: string, body: object): Promise<string> => {
    const answer = await fetch(`${deputy.connect}/scim/v2${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${BEARER}`, 'content-type': 'application/scim+json' },
      body: JSON.stringify(body),
    })
    const { id } = (await answer.json()) as { readonly id?: string }
    if (answer.status !== 201 || id === undefined) wrong += 1
    return id ?? ''
  }
  const resident = async (): Promise<number> => {
    const text = await (await fetch(`http://${deputy.admin}/metrics`)).text()
    return Number(/^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1])
  }
  try {
    const before = await resident()
    const ids: string[] = []
    let next = 0
    const began = performance.now()
    const client = async (): Promise<void> => {
      for (let i = next++; i < people; i = next++) {
        ids.push(
          await post('/Users', {
            schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'],
            userName: `person-${i}@corp.example`,
            externalId: `e-${i}`,
            displayName: `Person ${i}`,
            active: true,
          }),
        )
        if (ids.length % (people / 10) === 0)
          say(
            `scim: ${ids.length} of ${people} people, ${n(ids.length / ((performance.now() - began) / 1_000))} in a second`,
          )
      }
    }
    await Promise.all(Array.from({ length: CLIENTS }, client))
    const users = (performance.now() - began) / 1_000
    const then = performance.now()
    let groups = 0
    for (let at = 0; at < ids.length; at += MEMBERS) {
      groups += 1
      await post('/Groups', {
        schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'],
        displayName: `group-${groups}`,
        members: ids.slice(at, at + MEMBERS).map((value) => ({ value })),
      })
    }
    const members = (performance.now() - then) / 1_000
    const more = (await resident()) - before
    const file = statSync(join(deputy.dir, 'deputy.db')).size
    return {
      title: 'SCIM',
      columns: ['pushed', 'count', 'seconds', 'in a second'],
      rows: [
        [`people, ${CLIENTS} at once`, String(people), n(users, 1), n(people / users)],
        [`members, in groups of ${MEMBERS}`, String(people), n(members, 1), n(people / members)],
      ],
      notes: [`${n(more / 1e6)} MB more resident; the vault has ${n(file / 1e6)} MB`],
      wrong: wrong === 0 ? [] : [`${wrong} resources were not made`],
      skipped: [],
    }
  } finally {
    await deputy.close()
  }
}
