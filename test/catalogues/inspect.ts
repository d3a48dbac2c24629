// What policy sees of the bodies of generated rows: the same members as where the same act is written by hand, so that
// another name of it hides nothing.
import type { MailPlaces } from '../../proxy/model.ts'
import type { Found } from './found.ts'
import { called } from './access.ts'

type Rule = readonly [where: RegExp, inspect: readonly string[]]
const RECIPIENTS = ['/toRecipients', '/ccRecipients', '/bccRecipients']
const OF_MESSAGE = RECIPIENTS.map((pointer) => `/message${pointer}`)

/** How a person signs in at Microsoft, and what they may use (policies/deputy/providers/microsoft). */
const SIGN_IN = [
  'accountEnabled',
  'ageGroup',
  'assignedLicenses',
  'businessPhones',
  'consentProvidedForMinor',
  'employeeType',
  'identities',
  'mail',
  'mailNickname',
  'mobilePhone',
  'onPremisesImmutableId',
  'otherMails',
  'passwordPolicies',
  'passwordProfile',
  'proxyAddresses',
  'usageLocation',
  'userPrincipalName',
  'userType',
].map((name) => `/${name}`)

/** Matched as the rules of access are. */
const RULES: Readonly<Record<string, readonly Rule[]>> = {
  microsoft: [
    [/\/sendMail /, OF_MESSAGE],
    [
      /\/(?:forward|createForward|reply|replyAll|createReply|createReplyAll) /,
      ['/toRecipients', ...OF_MESSAGE],
    ],
    [
      /^(?:POST|PATCH) \/v1\.0\/(?:me|users\/\{\w+\})\/(?:mailFolders\/\S*)?messages(?:\/\{\w+\})? /,
      RECIPIENTS,
    ],
    [/^(?:POST|PATCH) \S*\/(?:events|instances)(?:\/\{\w+\})? /, ['/attendees']],
    [
      /^(?:POST|PATCH) \S*\/drives?\/(?:\{\w+\}\/)?(?:(?:items|special)\/\{\w+\}|root)(?::\/\{\w+\+\}:?)?(?:\/copy)? /,
      ['/parentReference'],
    ],
    [/\/createLink /, ['/type', '/scope']],
    [
      /\/(?:items|special|driveItem|root)[:/]?\S*\/invite |\/(?:driveItem|root)\/invite /,
      ['/recipients'],
    ],
    [/^PATCH \/v1\.0\/(?:me|users\/\{\w+\}) /, SIGN_IN],
  ],
  google: [
    [/ calendar\.acl\.(?:insert|patch|update)$/, ['/role', '/scope/type', '/scope/value']],
    [/ drive\.revisions\.update$/, ['/published', '/publishAuto', '/publishedOutsideDomain']],
    [/ calendar\.events\.import$/, ['/attendees', '/visibility']],
    [
      / gmail\.users\.(?:messages\.batchModify|threads\.modify)$/,
      ['/addLabelIds', '/removeLabelIds'],
    ],
  ],
  github: [
    [/^mutation createCommitOnBranch /, ['/input/branch/branchName']],
    [/^mutation mergeBranch /, ['/input/base']],
    [/^mutation createRef /, ['/input/name']],
  ],
  gitea: [
    [/ repoApplyDiffPatch$/, ['/branch', '/new_branch']],
    [/ repoMergeUpstream$/, ['/branch']],
  ],
  slack: [
    [/ chat\.(?:scheduleMessage|deleteScheduledMessage|meMessage|\w+Stream|unfurl)$/, ['/channel']],
  ],
}

export type MailRule = Partial<MailPlaces>
const MIME = { 'text/plain': 'base64' } as const
const members = (root: string): MailRule => ({
  to: [`${root}/toRecipients`],
  cc: [`${root}/ccRecipients`],
  bcc: [`${root}/bccRecipients`],
  address: '/emailAddress/address',
  attachments: [`${root}/attachments`],
})
const both = (): MailRule => ({
  ...members('/message'),
  to: ['/toRecipients', '/message/toRecipients'],
})
const GMAIL = {
  raw: ['/raw'],
  bodies: { 'message/rfc822': 'message', 'multipart/related': 'related' },
} as const

/** Where the recipients of a mail stand, as in the rows by hand. */
const MAIL: Readonly<Record<string, readonly (readonly [where: RegExp, mail: MailRule])[]>> = {
  microsoft: [
    [/\/sendMail /, { ...members('/message'), bodies: MIME }],
    [/\/messages\/\{\w+\}\/(?:reply|replyAll) /, { stored: true }],
    [/\/messages\/\{\w+\}\/forward /, { ...both(), bodies: MIME }],
    [
      /\/messages\/\{\w+\}\/(?:createForward|createReply|createReplyAll) /,
      { ...both(), bodies: MIME, sends: false },
    ],
    [/\/messages\/\{\w+\}\/send /, { stored: true }],
    [
      /^(?:POST|PATCH) \/v1\.0\/(?:me|users\/\{\w+\})\/(?:mailFolders\/\S*)?messages(?:\/\{\w+\})? /,
      { ...members(''), bodies: MIME, sends: false },
    ],
    [
      /^POST \S*\/(?:events|instances)\/\{\w+\}\/forward /,
      { to: ['/toRecipients'], address: '/emailAddress/address' },
    ],
  ],
  hubspot: [
    [
      /^POST \/marketing\/v\d\/(?:transactional\/single-email\/send|email\/single-send)\S* /,
      { to: ['/message/to'], cc: ['/message/cc'], bcc: ['/message/bcc'] },
    ],
    // Its recipients have a form for each channel; those of a sequence stand in the contact.
    [
      /^POST \/(?:conversations\/v3\/conversations\/threads\/\{\w+\}\/messages|automation\/v4\/sequences\/enrollments) /,
      { stored: true },
    ],
  ],
  google: [[/ gmail\.users\.messages\.(?:insert|import)$/, { ...GMAIL, sends: false }]],
}
export const mailed = (provider: string, found: Found): MailRule | null =>
  MAIL[provider]?.find(([where]) => where.test(called(found)))?.[1] ?? null

export const inspected = (provider: string, found: Found): readonly string[] | null =>
  RULES[provider]?.find(([where]) => where.test(called(found)))?.[1] ?? null
