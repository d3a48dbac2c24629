// The tokens that a real cluster makes for pods name the agents that call.
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startDeputy } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'
import { NO_CLUSTER, startCluster } from './cluster.ts'
import type { Cluster } from './cluster.ts'

const CALLERS = readFileSync(new URL('../../docs/operate/callers.md', import.meta.url), 'utf8')
/** The arguments of a command as the book has it. */
const book = (begins: string): readonly string[] => {
  const line = CALLERS.split('\n').find((each) => each.startsWith(`kubectl ${begins}`))
  if (line === undefined) throw new Error(`the book shows no kubectl ${begins}`)
  return line.split(' ').slice(1)
}
const TOKEN = 'at-alice-acme-0123456789'
const AGENT = 'system:serviceaccount:agents:triage'

describe.skipIf(NO_CLUSTER !== null)(
  `a pod’s own token${NO_CLUSTER === null ? '' : ` (SKIPPED: ${NO_CLUSTER})`}`,
  () => {
    let cluster: Cluster
    let upstream: Upstream
    const uids: Record<string, string> = {}
    const kubectl = async (...args: readonly string[]): Promise<string> => {
      const ran = await cluster.kubectl(args)
      if (ran.code !== 0) throw new Error(ran.err)
      return ran.out.trim()
    }
    const account = (name: string, namespace: string): string =>
      JSON.stringify({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } })
    const pod = (name: string): string =>
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'agents' },
        spec: { serviceAccountName: 'triage', containers: [{ name: 'agent', image: 'x' }] },
      })
    beforeAll(async () => {
      ;[cluster, upstream] = await Promise.all([startCluster(), startUpstream()])
      upstream.people.set(TOKEN, 'alice-acme')
      await cluster.namespace('agents', 'privileged')
      await cluster.namespace('others', 'privileged')
      await cluster.apply(
        [account('triage', 'agents'), account('triage', 'others')].join('\n---\n'),
      )
      await cluster.apply([pod('one'), pod('two')].join('\n---\n'))
      for (const name of ['one', 'two'])
        uids[name] = await kubectl(
          'get',
          'pod',
          name,
          '-n',
          'agents',
          '-o',
          'jsonpath={.metadata.uid}',
        )
    })
    afterAll(async () => {
      await cluster.close()
      await upstream.close()
    })

    /** As the kubelet has it made, for ten minutes. */
    const tokenOf = (name: string): Promise<string> =>
      kubectl(
        ...book('create token'),
        '--bound-object-kind',
        'Pod',
        '--bound-object-name',
        name,
        '--bound-object-uid',
        uids[name] ?? '',
      )
    const start = (workload: Fields): Promise<Deputy> =>
      startDeputy({
        upstream: upstream.origin,
        config: {
          workloads: [
            {
              name: 'cluster',
              issuer: cluster.issuer,
              match: { '/kubernetes.io/namespace': 'agents' },
              agent: '/sub',
              ...workload,
            },
          ],
          upstream: { ca: join(dirname(cluster.kubeconfig), 'certs/apiserver.crt') },
        },
        held: [{ person: 'alice', agent: AGENT, token: TOKEN }],
      })
    const call = async ({ agent }: Deputy, token: string) => {
      const answer = await fetch(`${agent}/api.acme.test/a`, {
        headers: { 'Deputy-User': 'alice', 'Deputy-Agent': token },
      })
      const { code, detail, login } = (await answer.json()) as Fields
      return [answer.status, code ?? login, detail]
    }

    test('is believed by the keys that the API server publishes, once it may be asked', async () => {
      const deputy = await start({})
      try {
        expect((await call(deputy, await tokenOf('one'))).slice(0, 2)).toEqual([
          503,
          'issuer_unavailable',
        ])
        // Without it the API server answers no stranger.
        await kubectl(...book('create clusterrolebinding deputy-issuer'))
        const token = await tokenOf('one')
        await expect.poll(() => call(deputy, token)).toEqual([200, 'alice-acme', undefined])
        expect(deputy.evidence().findLast(({ event }) => event === 'decision')).toMatchObject({
          agent: { id: AGENT, workload: { name: 'cluster', subject: AGENT, verified: true } },
        })
        const foreign = await kubectl(
          'create',
          'token',
          'triage',
          '-n',
          'others',
          '--audience',
          'deputy',
          '--duration',
          '10m',
        )
        expect(await call(deputy, foreign)).toEqual([
          401,
          'workload_unauthenticated',
          expect.stringContaining('cluster wants another /kubernetes.io/namespace'),
        ])
        const forApi = await kubectl('create', 'token', 'triage', '-n', 'agents')
        expect((await call(deputy, forApi)).slice(0, 2)).toEqual([401, 'workload_unauthenticated'])
        // Two of the same life are told apart, and each is good.
        expect((await call(deputy, await tokenOf('two')))[0]).toBe(200)
      } finally {
        await deputy.close()
      }
    })

    test('is believed by a copy of these keys, where nobody can be asked; a sidecar takes its own pod’s only', async () => {
      const jwks = join(dirname(cluster.kubeconfig), 'jwks.json')
      writeFileSync(jwks, await kubectl(...book('get --raw')))
      const deputy = await start({
        jwks,
        match: {
          '/kubernetes.io/namespace': 'agents',
          '/kubernetes.io/pod/uid': uids['one'] ?? '',
        },
      })
      try {
        expect(await call(deputy, await tokenOf('one'))).toEqual([200, 'alice-acme', undefined])
        const unbound = await kubectl(...book('create token'))
        for (const token of [await tokenOf('two'), unbound])
          expect(await call(deputy, token)).toEqual([
            401,
            'workload_unauthenticated',
            expect.stringContaining('cluster wants another /kubernetes.io/pod/uid'),
          ])
      } finally {
        await deputy.close()
      }
    })

    test('of an account or a pod that was deleted is refused as soon as the cluster says so, where it is asked', async () => {
      const own = join(dirname(cluster.kubeconfig), 'own-token')
      await cluster.namespace('deputy', 'privileged')
      await cluster.apply([account('deputy', 'deputy'), account('gone', 'agents')].join('\n---\n'))
      const ownToken = await kubectl('create', 'token', 'deputy', '-n', 'deputy')
      writeFileSync(own, 'not-yet')
      const deputy = await start({
        token_review: {
          server: cluster.issuer,
          ca: join(dirname(cluster.kubeconfig), 'certs/apiserver.crt'),
          token: own,
        },
      })
      try {
        const ofPod = await tokenOf('two')
        const ofAccount = await kubectl(
          ...book('create token').map((word) => (word === 'triage' ? 'gone' : word)),
        )
        const away = [503, 'workload_unavailable', expect.stringContaining('cannot be asked')]
        expect(await call(deputy, ofPod)).toEqual(away)
        expect(deputy.logged()).toContain('answers 401')
        // The kubelet turned the token, and nobody has bound its account yet.
        writeFileSync(own, `${ownToken}\n`)
        expect(await call(deputy, ofPod)).toEqual(away)
        expect(deputy.logged()).toContain(
          'bind its service account to the ClusterRole system:auth-delegator',
        )
        await kubectl(...book('create clusterrolebinding deputy-token-review'))
        await expect.poll(() => call(deputy, ofPod)).toEqual([200, 'alice-acme', undefined])
        expect(deputy.evidence().findLast(({ event }) => event === 'decision')).toMatchObject({
          agent: { id: AGENT, workload: { name: 'cluster', subject: AGENT, verified: true } },
        })
        const [elsewhere, forApi] = [
          await kubectl(
            'create',
            'token',
            'triage',
            '-n',
            'others',
            '--audience',
            'deputy',
            '--duration',
            '10m',
          ),
          await kubectl('create', 'token', 'triage', '-n', 'agents', '--duration', '10m'),
        ]
        expect(await call(deputy, elsewhere)).toEqual([
          401,
          'workload_unauthenticated',
          expect.stringContaining('cluster wants another /kubernetes.io/namespace'),
        ])
        expect((await call(deputy, forApi)).slice(0, 2)).toEqual([401, 'workload_unauthenticated'])

        expect((await call(deputy, ofAccount))[0]).not.toBe(401)
        await kubectl('delete', 'serviceaccount', 'gone', '-n', 'agents')
        await kubectl('delete', 'pod', 'two', '-n', 'agents', '--force', '--grace-period=0')
        // The API server remembers for up to ten seconds that a token was good; deputy does not.
        const refusedNow = [
          401,
          'workload_unauthenticated',
          expect.stringMatching(/^The cluster does not accept the workload’s token/),
        ]
        for (const token of [ofAccount, ofPod])
          await expect.poll(() => call(deputy, token)).toEqual(refusedNow)
        upstream.seen.length = 0
        for (const token of [ofAccount, ofPod])
          expect(await call(deputy, token)).toEqual(refusedNow)
        expect(upstream.seen).toEqual([])
      } finally {
        await deputy.close()
      }
    })
  },
)
