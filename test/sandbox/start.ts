// `npm start`: the first minute. Starts the sandbox, plays the main job once, then stays up to be tried by hand.
//   --once        end after the play; exit status 0 only if every step held
//   --by-hand     a person clicks the consents, instead of a script
//   --ports fixed always the same ports, instead of free ones
//   --dir FOLDER  where the state goes, instead of .sandbox
//   --deputy 'COMMAND WORDS'  starts deputy by another command, such as that of an image, instead of this checkout's
import { Console } from 'node:console'
import { createWriteStream, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { PassThrough } from 'node:stream'
import { parseArgs } from 'node:util'
import type { Step } from './play.ts'
import type { Command, World } from './world.ts'

const RENEW_MS = 300_000
const terminal = process.stdout.isTTY
const say = (line = ''): void => void process.stdout.write(`${line}\n`)
const bold = (text: string): string => (terminal ? `\u001b[1m${text}\u001b[22m` : text)

// The two servers warn that they are for development only: into a log with it, from their import on.
const chatter = new PassThrough()
globalThis.console = new Console(chatter, chatter)

/** @param over an interrupted play says nothing more */
const play = async (steps: readonly Step[], over: () => boolean): Promise<number> => {
  let held = 0
  for (const [i, { title, run }] of steps.entries()) {
    say(bold(`${i + 1}. ${title}`))
    try {
      const { agent, provider, user } = await run()
      say(`   agent     ${agent}`)
      if (provider !== undefined)
        say(`   provider  ${provider === null ? 'saw nothing' : `saw ${provider}`}`)
      say(`   user      ${user}`)
      held += 1
    } catch (error) {
      if (over()) return held
      say(`   FAILED    ${error instanceof Error ? error.message : String(error)}`)
    }
    say()
  }
  return held
}

/** Commands that work when pasted: assertions lie in files and are renewed long before they end. */
const offer = async (world: World): Promise<NodeJS.Timeout> => {
  const file = (person: string): string => relative('.', join(world.folder, `${person}.jwt`))
  const renew = async (): Promise<void> => {
    for (const person of ['alice', 'bob'])
      writeFileSync(file(person), await world.idp.assertion(person, 'triage-agent', 900), {
        mode: 0o600,
      })
  }
  await renew()
  const at = (name: string): string => relative('.', join(world.folder, name))
  const user = `${world.agent}/api.github.com/user`
  const issues = `${world.agent}/api.github.com/repos/alice-gh/triage/issues`
  say(bold('Try it: who am I; the same as bob; with a token of your own; an issue; the evidence'))
  say(`curl -H "Deputy-User: $(cat ${file('alice')})" ${user}`)
  say(`curl -i -H "Deputy-User: $(cat ${file('bob')})" ${user}`)
  say(`curl -H "Deputy-User: $(cat ${file('alice')})" -H "Authorization: Bearer mine" ${user}`)
  say(
    `curl -H "Deputy-User: $(cat ${file('alice')})" -H "Content-Type: application/json" -d '{"title":"By hand"}' ${issues}`,
  )
  say(`npm run deputy -- audit verify ${at('audit.jsonl')} --keys ${at('keys.json')}`)
  say()
  say(
    `In an SDK: base URL ${world.agent}/api.github.com, and as its key the text of ${file('alice')}`,
  )
  say(bold(`Change ${at('people.yaml')} and try again a second later.`))
  say(`configuration  ${at('deputy.yaml')}      evidence  ${at('audit.jsonl')}`)
  say(`pages          ${world.connect}    health    ${world.admin}/readyz`)
  say(`sign-in        ${world.idp.issuer}    provider  ${world.provider.url}`)
  say('Ctrl-C ends everything.')
  return setInterval(() => void renew(), RENEW_MS)
}

const byHand = (link: string): void => {
  say(`   open      ${link}`)
  say('             sign in as alice with any password, choose alice-gh; this waits')
}

/** Words between spaces: nothing is quoted, no shell reads it. */
const commandOf = (text: string): Command => {
  const [file, ...first] = text.split(' ').filter((word) => word !== '')
  if (file === undefined) throw new Error('--deputy names no command: --deputy "docker run …"')
  return [file, ...first]
}

const main = async (): Promise<number> => {
  const { values: flags } = parseArgs({
    options: {
      once: { type: 'boolean', default: false },
      'by-hand': { type: 'boolean', default: false },
      ports: { type: 'string', default: 'free' },
      dir: { type: 'string', default: '.sandbox' },
      deputy: { type: 'string' },
    },
  })
  const signalled = new Promise<number>((end) => {
    process.once('SIGINT', () => end(130))
    process.once('SIGTERM', () => end(143))
    process.once('SIGHUP', () => end(129))
    // Nobody reads any more: `npm start | head`.
    process.stdout.on('error', () => end(1))
  })
  say('Starting an OpenID provider, a GitHub and deputy on loopback …')
  say()
  const { startWorld } = await import('./world.ts')
  const { createPlay } = await import('./play.ts')
  const world = await startWorld({
    folder: flags.dir,
    fixedPorts: flags.ports === 'fixed',
    ...(flags.deputy === undefined ? {} : { deputy: commandOf(flags.deputy) }),
  })
  chatter.pipe(createWriteStream(join(world.folder, 'servers.log'), { mode: 0o600 }))
  const interrupted = Promise.race([
    signalled,
    world.died.then((why) => {
      say(why)
      return 1
    }),
  ])
  try {
    const steps = createPlay(world, flags['by-hand'] ? byHand : null)
    let over = false
    const held = await Promise.race([
      play(steps, () => over),
      interrupted.then(() => {
        over = true
        return null
      }),
    ])
    if (held === null) return await interrupted
    const sum = `${held} of ${steps.length} steps held`
    if (flags.once) {
      await world.close()
      say(sum)
      return held === steps.length ? 0 : 1
    }
    say(bold(sum))
    say()
    const renewal = await offer(world)
    const code = await interrupted
    clearInterval(renewal)
    return code
  } finally {
    await world.close()
  }
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  },
)
