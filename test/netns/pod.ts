// The pod of an agent with deputy in it, as the chart makes it: addresses, uids and nothing more.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { prepareFolder, providersAt, until } from '../support/deputy.ts'
import { createWorld, DEPUTY, HOST, node, tree } from './world.ts'
import type { World } from './world.ts'

const TOKEN = 'at-alice-acme-0123456789'

/** Starts the world and deputy in the pod, ready; alice is connected. @returns with the folder that is deputy's own */
export const startPod = async (): Promise<{ readonly world: World; readonly folder: string }> => {
  const world = await createWorld({ people: { [TOKEN]: 'alice-acme' } })
  try {
    const provider = `http://${HOST.provider}`
    const made = await prepareFolder({
      upstream: provider,
      config: {
        listeners: { agent: '127.0.0.1:7410', admin: '0.0.0.0:7411', connect: '127.0.0.1:7412' },
        providers: providersAt(provider).map((each) => ({ ...each, insecure: true })),
        network: { allow_private: [{ net: '198.51.100.0/24' }] },
      },
      held: [{ person: 'alice', token: TOKEN }],
    })
    const folder = join(world.dir, 'deputy')
    execFileSync('chown', ['-R', String(DEPUTY), made])
    execFileSync('mv', [made, folder])
    const deputy = world.startInPod(
      { uid: DEPUTY },
      ...node(tree('bin/deputy.js'), 'serve', '--config', join(folder, 'deputy.yaml')),
    )
    await until(() => {
      if (deputy.ended() !== null) throw new Error(deputy.said())
      return deputy.said().includes('deputy is ready')
    }, 'deputy is ready')
    return { world, folder }
  } catch (error) {
    await world.close()
    throw error
  }
}
