// Slack's Web API: methods and arguments from the types of Slack's own client, current scopes from arcade-slack-api.
import { fields, short, text, texts, type Found } from './found.ts'
import { specFiles, specText } from './specs.ts'
import { declared, membersOf } from './typescript.ts'

type Method = { readonly name: string; readonly argument: string; readonly summary: string }

/** `readonly files: { remote: { add: MethodWith…<FilesRemoteAddArguments, …>` → files.remote.add */
const methodsIn = (source: string): readonly Method[] => {
  const path: string[] = []
  const found: Method[] = []
  let doc = ''
  let inside = false
  for (const line of source.split('\n')) {
    const at = line.trim()
    if (at.startsWith('/**')) doc = ''
    if (at.startsWith('/**') || at.startsWith('*')) doc += `${at.replace(/^\/?\*+\/?/, '')}\n`
    if (at.startsWith('export declare abstract class Methods')) inside = true
    if (!inside) continue
    const open = /^(?:readonly )?(\w+): \{$/.exec(at)
    const method = /^(?:readonly )?(\w+): MethodWith\w+<(\w+), /.exec(at)
    if (open?.[1] !== undefined) path.push(open[1])
    else if (at === '};') path.pop()
    else if (method?.[1] !== undefined)
      found.push({
        name: [...path, method[1]].join('.'),
        argument: method[2] ?? '',
        summary: short(doc.replace(/^[\s\S]*@description/, '').replace(/@[\s\S]*$/, '')),
      })
  }
  return found
}

const scopesOf = (): ReadonlyMap<string, readonly string[]> =>
  new Map(
    specFiles('slackScopes')
      .filter((path) => path.endsWith('.json'))
      .map((path): [string, readonly string[]] => {
        const tool = fields(JSON.parse(specText('slackScopes', path)))
        const oauth2 = fields(fields(fields(tool['requirements'])['authorization'])['oauth2'])
        const url = text(fields(tool['http_endpoint'])['url'])
        return [url.slice(url.lastIndexOf('/') + 1), texts(oauth2['scopes'])]
      }),
  )

/** They take or give the secrets of an app, or end the grant under which they are called: no person's token is for them. */
const APART =
  /^(?:oauth\.|openid\.connect\.token$|tooling\.|auth\.revoke$|apps\.connections\.open$|migration\.exchange$)/

/** Not methods of Slack's but of its client, which calls others for them (files.getUploadURLExternal). */
const HELPER = /^files\.?[uU]ploadV2$/

export const slack = (): readonly Found[] => {
  const types = declared(
    specFiles('slack')
      .filter((path) => path.includes('/types/request/') && path.endsWith('.d.ts'))
      .map((path) => specText('slack', path)),
  )
  const scopes = scopesOf()
  return methodsIn(specText('slack', 'package/dist/methods.d.ts'))
    .filter(({ name }) => !APART.test(name) && !HELPER.test(name))
    .flatMap(({ name, argument, summary }) => {
      const told = scopes.get(name) ?? []
      return ['GET', 'POST'].map((method) => ({
        id: name,
        method,
        path: `/api/${name}`,
        host: 'slack.com',
        summary,
        // A conversation may be of several kinds, each with a scope of its own: any of them lets the call go.
        scopes: told.length === 0 ? null : told.map((scope) => [scope]),
        parameters: membersOf(argument, types).filter((one) => one.name !== 'token'),
      }))
    })
}
