// What policy sees of the bodies of generated rows: the same members as where the same act is written by hand, so that
// another name of it hides nothing.
import type { Found } from './found.ts'
import { called } from './access.ts'

type Rule = readonly [where: RegExp, inspect: readonly string[]]
const RECIPIENTS = ['/toRecipients', '/ccRecipients', '/bccRecipients']
const OF_MESSAGE = RECIPIENTS.map((pointer) => `/message${pointer}`)

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
      /^(?:POST|PATCH) \S*\/drives?\/(?:\{\w+\}\/)?(?:items\/\{\w+\}|root)(?:\/copy)? /,
      ['/parentReference'],
    ],
  ],
  google: [
    [/ calendar\.events\.import$/, ['/attendees', '/visibility']],
    [
      / gmail\.users\.(?:messages\.batchModify|threads\.modify)$/,
      ['/addLabelIds', '/removeLabelIds'],
    ],
  ],
  slack: [
    [/ chat\.(?:scheduleMessage|deleteScheduledMessage|meMessage|\w+Stream|unfurl)$/, ['/channel']],
  ],
}

export const inspected = (provider: string, found: Found): readonly string[] | null =>
  RULES[provider]?.find(([where]) => where.test(called(found)))?.[1] ?? null
