import { describe, expect, test } from 'vitest'
import { scopeReach } from '../../proxy/providers/assemble.ts'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { askable, lacking, widened } from '../../proxy/wire/scopes.ts'

const reach = (implies: Record<string, string[]>, aliases: Record<string, string> = {}) => ({
  scopeReach: scopeReach(implies, aliases),
})

describe('sets of scopes', () => {
  test('contain what a wider scope contains, to the end of the chain', () => {
    const org = reach({ 'admin:org': ['write:org'], 'write:org': ['read:org'] })
    expect(lacking(org, ['admin:org'], ['read:org', 'write:org'])).toEqual([])
    expect(lacking(org, ['read:org'], ['write:org'])).toEqual(['write:org'])
  })

  test('know both names of a scope, from either side', () => {
    const mail = reach({ all: ['mail'] }, { 'https://x/mail': 'mail' })
    expect(lacking(mail, ['https://x/mail'], ['mail'])).toEqual([])
    expect(lacking(mail, ['mail'], ['https://x/mail'])).toEqual([])
    expect(lacking(mail, ['all'], ['https://x/mail'])).toEqual([])
  })

  test('end where scopes contain each other, and stay as they are where nothing is said', () => {
    const circle = reach({ a: ['b'], b: ['a'] })
    expect(widened(circle, ['a'])).toEqual(['a', 'b'])
    const held = ['x']
    expect(widened({}, held)).toBe(held)
    expect(widened({ scopeReach: null }, held)).toBe(held)
    expect(widened(reach({}), held)).toBe(held)
    expect(widened(circle, held)).toBe(widened(circle, held))
  })
})

describe('the definitions that ship', () => {
  const { providers, problems } = compileProviders(
    readProviderFiles(new URL('../../providers', import.meta.url).pathname),
  )
  const google = 'https://www.googleapis.com/auth/'

  test.for<[string, string, string]>([
    ['github', 'repo', 'public_repo'],
    ['github', 'repo', 'repo:status'],
    ['github', 'admin:org', 'read:org'],
    ['github', 'user', 'user:email'],
    ['google', `${google}userinfo.email`, 'email'],
    ['google', 'email', `${google}userinfo.email`],
    ['google', 'https://mail.google.com/', `${google}gmail.readonly`],
    ['google', `${google}drive`, `${google}drive.file`],
    ['microsoft', 'Mail.ReadWrite', 'Mail.Read'],
    ['microsoft', 'Files.ReadWrite.All', 'Files.Read'],
    ['slack', 'chat:write:user', 'chat:write'],
    ['salesforce', 'full', 'api'],
    ['gitea', 'write:issue', 'read:issue'],
    ['linear', 'admin', 'read'],
  ])('%s: %s is enough for %s', ([id, held, wanted]) => {
    expect(problems).toEqual([])
    const provider = providers.get(id)
    if (provider === undefined) throw new Error(`no ${id}`)
    expect(lacking(provider, [held], [wanted])).toEqual([])
  })

  test.for<[string, string, string]>([
    ['github', 'public_repo', 'repo'],
    ['github', 'repo', 'delete_repo'],
    ['google', `${google}gmail.readonly`, `${google}gmail.send`],
    ['microsoft', 'Mail.Read', 'Mail.ReadWrite'],
    ['salesforce', 'api', 'full'],
  ])('%s: %s is not enough for %s', ([id, held, wanted]) => {
    const provider = providers.get(id)
    if (provider === undefined) throw new Error(`no ${id}`)
    expect(lacking(provider, [held], [wanted])).toEqual([wanted])
  })
})

test('a person is asked for what the connection lists: the narrowest that contains what is wanted', () => {
  const scopeReach = new Map([
    ['repo', ['repo', 'public_repo', 'repo:status']],
    ['all', ['all', 'repo', 'public_repo', 'repo:status']],
  ])
  const ask = (allowed: readonly string[], wanted: readonly string[]) =>
    askable({ scopeReach }, allowed, wanted)
  expect(ask(['repo', 'all'], ['public_repo'])).toEqual(['repo'])
  expect(ask(['all', 'repo'], ['public_repo', 'repo:status'])).toEqual(['repo', 'repo'])
  expect(ask(['repo', 'public_repo'], ['public_repo'])).toEqual(['public_repo'])
  // Of two that contain the same, the one that is listed first; but what may be asked for as it is, is.
  const both = new Map([
    ['a', ['a', 'b', 'c']],
    ['b', ['a', 'b', 'c']],
  ])
  expect(askable({ scopeReach: both }, ['b', 'a'], ['c'])).toEqual(['b'])
  expect(askable({ scopeReach: both }, ['b', 'a'], ['a'])).toEqual(['a'])
  // What nothing contains is not asked for under another name.
  expect(ask(['public_repo'], ['repo'])).toEqual(['repo'])
  expect(askable({}, ['a'], ['b'])).toEqual(['b'])
})
