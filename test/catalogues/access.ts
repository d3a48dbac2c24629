// What access each call means, in one place to be read and argued with. The first rule that fits decides; what none fits
// is `read` for a GET and `admin` for everything else, so that a new method of a vendor is refused until somebody looked.
import type { Access } from '../../proxy/model.ts'
import type { Found } from './found.ts'

/** Matched against `METHOD /path id`, where a GraphQL call is `query|mutation field`. */
type Rule = { readonly is: Access; readonly where: RegExp; readonly why: string }
const rule = (is: Access, why: string, where: RegExp): Rule => ({ is, where, why })

export const RULES: Readonly<Record<string, readonly Rule[]>> = {
  google: [
    rule('admin', 'whom it invites stands in its text', / calendar\.events\.quickAdd$/),
    rule('admin', 'push channels are hooks', /[. ](?:watch|stop|renew)$|\.watches\./),
    rule(
      'read',
      'pages, people, groups and rooms of a directory',
      /^GET \S+ directory\.(?:users|groups|members|orgunits|resources|schemas)\.(?:list|get|hasMember|[a-z]+\.(?:list|get))$/,
    ),
    rule('admin', 'administration of a domain', / (?:directory|admin)\./),
    rule('admin', 'keys of encrypted mail', /\.(?:cse|smimeInfo)\.|generateCseToken/),
    rule('read', 'reading settings shows who receives copies, and changes nothing', /^GET /),
    rule(
      'admin',
      'who else reads, sends or receives this mail',
      /gmail\.users\.settings\.(?!updateVacation|updateLanguage)/,
    ),
    rule(
      'admin',
      'who may see or do what',
      /calendar\.acl\.|transferOwnership|drive\.permissions\.|drive\.(?:accessproposals|teamdrives)\.|drive\.drives\.(?!hide|unhide)|\.members\.(?!modify)|setPublishSettings|completeImport|meet\.spaces\.patch|chat\.spaces\.(?:setup|patch)$/,
    ),
    rule(
      'read',
      'a question too long for a URL',
      /^POST \S+ \S+\.(?:query|search|getByDataFilter|batchGetByDataFilter)$/,
    ),
    rule(
      'delete',
      'trash, clear and batchDelete are POSTs',
      /^POST \S+ \S+\.(?:trash|batchDelete\w*|batchClear\w*|clear)$/,
    ),
    rule('delete', 'what the method says', /^DELETE /),
    rule(
      'write',
      'what people do with their own mail, files and events',
      /^(?:POST|PUT|PATCH) \S+ (?:gmail|calendar|drive|docs|sheets|slides|people|tasks|chat|meet|forms)\./,
    ),
  ],
  github: [
    rule(
      'admin',
      'hooks, keys, secrets, runners, billing and the log of who did what',
      /\/(?:hooks|keys|actions\/(?:secrets|variables|runners|runner-groups|hosted-runners|cache\/usage-policy|organization-secrets|organization-variables|permissions|oidc)|(?:[a-z]+\/)*secrets|(?:[a-z]+\/)*variables|secret-scanning|push-protection|settings|audit-log|credential-authorizations|personal-access-tokens?|personal-access-token-requests|installations?|network-configurations|private-registries|copilot\/billing|billing|budgets|migrations?|hook)(?:\/|[ }])|secret|webhook|variable|\/credentials\//i,
    ),
    rule('read', 'what the method says', /^GET |^query /),
    rule(
      'admin',
      'starts code elsewhere',
      /dispatch|rerun|approve|\/actions\/|\/pages|\/codespaces|\/agents?\//i,
    ),
    rule(
      'write',
      'taking away a label, a lock, a star or a reviewer destroys nothing',
      /^DELETE \/repos\/\S+\/(?:labels|lock|assignees|reactions|requested_reviewers|subscription|sub_issue|dependencies)\b|^DELETE \/user\/(?:starred|following|subscriptions)|^DELETE \/gists\/\S+\/star |^DELETE \/notifications/,
    ),
    rule(
      'admin',
      'rules, rights and settings of a repository',
      /\/repos\/\{owner\}\/\{repo\}(?: |\/(?:collaborators|invitations|branches|rulesets|rules|environments|deployments|deploy|topics|transfer|automated-security-fixes|vulnerability-alerts|private-vulnerability|interaction-limits|properties|tags\/protection|immutable-releases|autolinks|teams|attestations|code-scanning\/default-setup|code-scanning\/codeql|code-scanning\/sarifs|dependency-graph|import|generate|security-advisories|issue-types))/,
    ),
    rule(
      'delete',
      'content goes',
      /^DELETE \/(?:repos\/\{owner\}\/\{repo\}\/(?:issues|comments|contents|git|releases|labels|milestones|pulls|discussions)|gists|projects)/,
    ),
    rule(
      'write',
      'content comes or changes',
      /^(?:POST|PUT|PATCH) \/(?:repos\/\{owner\}\/\{repo\}\/(?:issues|comments|contents|git|releases|labels|milestones|pulls|commits|statuses|check-runs|check-suites|merges|merge-upstream|forks|notifications|subscription|code-scanning\/alerts|dependabot\/alerts|reactions|lock)|gists|notifications|user\/(?:starred|following|subscriptions))/,
    ),
    rule(
      'delete',
      'root fields that begin with delete',
      /^mutation delete(?:DiscussionComment|Discussion|Issue|IssueComment|PullRequestReview|PullRequestReviewComment|Ref|ProjectV2\w*|Project\w*|Label|PackageVersion|LinkedBranch) /,
    ),
    rule(
      'write',
      'root fields about issues, pull requests, discussions and projects',
      /^mutation (?!\S*(?:Enterprise|Organization|Branch?Protection|Ruleset|Environment|Sponsor|IpAllow|Verifiable|Repository|Team|Collaborator|Member|Role|Import|Migration|Deployment|Webhook|Bypass|Token))(?:add|update|create|close|reopen|mark|unmark|merge|enqueue|dequeue|submit|dismiss|request|resolve|unresolve|minimize|unminimize|pin|unpin|convert|clear|copy|move|remove|follow|unfollow|link|unlink|lock|unlock|set|change|archive|unarchive|enable|disable|reorder|reprioritize|unsubscribe|delete)(?:\w*)(?:Issue|PullRequest|Discussion|Comment|Reaction|Review|Label|Assignee|ProjectV2|Upvote|PollVote|Star|Commit|Ref|Thread|Subject|Lockable|User|Subscription|Draft|Milestone|SubIssue|LinkedBranch|Subscri|Viewed|ReadyForReview|AutoMerge)\w* /,
    ),
  ],
  slack: [
    rule('admin', 'answers with the address of a socket past deputy', / rtm\./),
    rule(
      'admin',
      'apps, and what administrators do',
      / (?:admin|apps|workflows|functions|agents)\./,
    ),
    rule(
      'admin',
      'who did what, and billing',
      / team\.(?:accessLogs|integrationLogs|billableInfo|billing\.|preferences\.|externalTeams\.disconnect)/,
    ),
    rule(
      'admin',
      'who may see what',
      /\.access\.(?:set|delete)$|(?:sharedPublicURL|revokePublicURL|remote\.share)$| conversations\.(?:invite\w*|kick|acceptSharedInvite|approveSharedInvite|declineSharedInvite|externalInvitePermissions\.|requestSharedInvite\.(?!list))| usergroups\.(?!list|users\.list)/,
    ),
    rule(
      'read',
      'names that only look',
      /\.(?:list\w*|info|get\w*|history|replies|members|lookup\w*|conversations|identity|userInfo|teamInfo|test|validate|messages|all|files)$| search\./,
    ),
    rule('delete', 'names that destroy', /\.(?:delete\w*|archive)$| files\.remote\.remove$/),
    rule(
      'write',
      'names that change',
      /\.(?:add|remove|post\w*|update|edit|create|set\w*|me\w*|schedule\w*|startStream|appendStream|stopStream|unfurl|complete\w*|open|close|join|leave|mark|rename|unarchive|end\w*|push|publish|participants\.\w+|presentDetails|start)$/,
    ),
  ],
  microsoft: [
    rule('admin', 'answers with an address past deputy', /\/(?:createUploadSession|preview) /),
    rule(
      'admin',
      'hooks, keys, consents, devices, and how somebody signs in',
      /\/(?:subscriptions|oauth2PermissionGrants|permissionGrants|resourceSpecificPermissionGrants|appRoleAssign\w*|authentication|synchronization|informationProtection|deviceManagement\w*|managed\w+|cloudPCs|licenseDetails|appConsentRequestsForApproval|scopedRoleMemberOf|scopedRoleMembers|dataSecurityAndGovernance|onPremisesSyncBehavior)(?:[/ (]|$)/,
    ),
    rule(
      'read',
      'mail, files, people, chats and plans',
      /^GET \/v1\.0\/(?:me|users|groups|teams|chats|drives|sites|shares|planner|places|contacts|organization|directoryObjects|search|education|employeeExperience|communications|solutions|teamwork|teamsTemplates|appCatalogs|print)\b/,
    ),
    rule(
      'read',
      'a question too long for a URL',
      /^POST \S*\/(?:search\/query|getSchedule|findMeetingTimes|getByIds|getAvailableExtensionProperties|translateExchangeIds|getMailTips|checkMember\w+|getMember\w+) /,
    ),
    rule(
      'admin',
      'who may see or do what, and rules that send mail on',
      /\/(?:permissions?|members|allMembers|allowedMembers|memberOf|owners|acceptedSenders|rejectedSenders|calendarPermissions|invite|createLink|grant|sharedWithTeams|installedApps|settings|messageRules|mailboxSettings|restrict\w*|unrestrict\w*|revoke\w*|removeAllAccessForUser|inferenceClassification|changePassword|assignLicense|reprocessLicenseAssignment|exportPersonalData|retryServiceProvisioning|archive|unarchive|provisionEmail|removeEmail|retentionLabel|unlock|lock|sponsors|manager|tabs|contentTypes|columns|termStores?|externalColumns)(?:[/ (]|$)/,
    ),
    rule(
      'delete',
      'what the method says',
      /^DELETE \/v1\.0\/(?:me|users\/\{userId\}|groups\/\{groupId\}|chats\/\{chatId\}|teams\/\{teamId\}\/\w+|sites\/\{siteId\}|drives\/\{driveId\}|planner)\/(?:messages|mailFolders|events|calendars?|calendarGroups|contacts|contactFolders|todo|onenote|drive|drives|items|root|special|lists?|photos?|chats|channels|planner|plans|tasks|buckets|conversations|threads|onlineMeetings|bundles|following)\b/,
    ),
    rule(
      'delete',
      'POSTs that destroy',
      /^POST \/v1\.0\/(?:me|users|groups|drives|sites|chats|teams)\S*\/(?:permanentDelete|softDelete|workbook\/\S*\/(?:clear|delete)|events\/\S*\/cancel) /,
    ),
    rule(
      'write',
      'what people do with their own mail, files, events and chats',
      /^(?:POST|PUT|PATCH) \/v1\.0\/(?:me|users\/\{userId\}|groups\/\{groupId\}|chats\/\{chatId\}|teams\/\{teamId\}|sites\/\{siteId\}|drives\/\{driveId\}|planner)\/(?:messages|mailFolders|events|calendars?|calendarView|calendarGroups|contacts|contactFolders|todo|onenote|drive|drives|items|root|special|lists?|photos?|chats|channels|primaryChannel|planner|plans|tasks|buckets|conversations|threads|onlineMeetings|presence|sendMail|bundles|following|pinnedMessages|schedule\/(?:shifts|timeOffRequests|swapShiftsChangeRequests|timeCards))\b/,
    ),
  ],
  hubspot: [
    rule(
      'admin',
      'users, rights, settings, schemas, logs, and what starts code',
      /\/(?:settings|users|audit-logs|account-info|webhooks|automation|extensions|crm-object-schemas|schemas|pipelines|properties|property-validations|object-library|custom-channels|domains|integrators|limits|source-code|url-redirects|blog-settings|media-bridge|event-definitions|transactional)(?:\/|[ }])(?!.*\/objects\/users)/,
    ),
    rule('read', 'what the method says', /^GET /),
    rule(
      'read',
      'a question too long for a URL',
      /^POST \S*\/(?:search|batch\/read|batch\/get|query|read)\/? /,
    ),
    rule(
      'delete',
      'archive and purge are POSTs',
      /^POST \S*\/(?:archive|purge|gdpr-delete|delete|remove|reset)(?:\/\w+)*\/? |^PUT \S*\/memberships\/(?:add-and-)?remove /,
    ),
    rule('delete', 'what the method says', /^DELETE /),
    rule('admin', 'one record takes the place of another for good', /\/merge /),
    rule(
      'write',
      'records, lists, campaigns, pages and conversations',
      /^(?:POST|PUT|PATCH) \/(?:crm|marketing|cms|conversations|events|scheduler)\//,
    ),
  ],
  linear: [
    rule(
      'admin',
      'answers with an address past deputy',
      /^mutation (?:fileUpload|importFileUpload) |^query agentSession(?:Sandbox|SshAddress) /,
    ),
    rule(
      'admin',
      'hooks, keys, invitations, sign-in, roles, billing and the log of who did what',
      /^\w+ \w*(?:[Ww]ebhook|[Aa]udit|[Oo]auth|[Ii]nvite|[Dd]omain|[Ss]aml|[Pp]asskey|[Kk]ey(?!Search)|[Ss]ecret|[Tt]oken|[Ii]dentityProvider|authenticationSession|userSession|[Ll]ogout|[Rr]ole[A-Z ]|emailIntake|pushSubscription|[Ss]pend|[Bb]illing|usageAlert|Trial|ssoUrl|verify)\w* ?/,
    ),
    rule(
      'admin',
      'who may see what, members, integrations, and what moves between products',
      /^mutation (?:createCsvExportReport|\w*(?:[Ii]ntegration(?!Schedule)|[Oo]rganization|[Mm]embership|[Ss]uspend|[Pp]romote|[Dd]emote|Revoke|Connect|Disconnect|airbyte|jira|[Gg]oogle|originInstallation|partner|[Ii]mport|Share|Unshare|ExternalSync|SyncToSlack|SlackChannel)\w*) /,
    ),
    rule(
      'admin',
      'what a workspace and its teams are set to, and what starts an agent or tells it what to do',
      /^mutation (?:customerMerge|team(?:Create|Update|Delete|Unarchive|CyclesDelete)|(?:workflowState|workflowDefinition|projectStatus|customerStatus|customerTier|releasePipeline|releaseStage|sla|triageRule|gitAutomation|automation|facet|agentSkill)\w*|agentSessionCreate|agentSessionRestartWithDefaultModel) /,
    ),
    rule('write', 'taking away a label destroys nothing', /^mutation \w+RemoveLabel /),
    rule('read', 'queries read', /^query /),
    rule('delete', 'names that destroy', /^mutation \w+(?:Delete|Archive|Purge|Remove)\w* /),
    rule(
      'write',
      'what people do with issues, projects and documents',
      /^mutation (?:issue|comment|reaction|attachment|project|document|cycle|favorite|notification|inboxNotification|customView|initiative|roadmap|label|template|view|entityExternalLink|customer|emoji|release|reminder|draft|contact|userFlagUpdate|agentActivity|agentSession|milestone|timeSchedule|triageResponsibility|resolve|create|update)\w* /,
    ),
  ],
  gitea: [
    rule(
      'admin',
      'administration, hooks, keys, secrets, runners, tokens and rights',
      /\/(?:admin|hooks|keys|gpg_keys|gpg_key_verify|gpg_key_token|secrets|variables|runners|tokens|applications|collaborators|teams|members|public_members|branch_protections|branch_protection_rules|tag_protections|push_mirrors|mirror-sync|push_mirrors-sync|transfer|settings|avatar|emails|blocks|activitypub|dispatches|workflows|actions|packages|migrate|generate|units|new_pin_allowed)(?:\/|[ }])/,
    ),
    rule('read', 'what the method says', /^GET /),
    rule('read', 'a text is rendered, nothing is kept', /^POST \/api\/v1\/(?:markdown|markup)/),
    rule('read', 'a question too long for a URL', /file-contents /),
    rule(
      'write',
      'taking away a label, a lock, a star or a reviewer destroys nothing',
      /^DELETE (?!\/api\/v1\/orgs\/\{org\}\/labels)\S*\/(?:labels|lock|stopwatch|subscriptions?|reactions|requested_reviewers|starred|following|subscription|pin|dependencies|blocks|topics|deadline|schedule)\b/,
    ),
    rule(
      'admin',
      'a repository or an organisation itself',
      /^(?:DELETE|PATCH|POST|PUT) \/api\/v1\/(?:repos\/\{owner\}\/\{repo\}|orgs\/\{org\}|orgs|orgs\/\{org\}\/rename|org\/\{org\}\/repos) /,
    ),
    rule('delete', 'content goes', /^DELETE \/api\/v1\/(?:repos\/|orgs\/\{org\}\/labels\/)/),
    rule(
      'write',
      'content comes or changes',
      /^(?:POST|PUT|PATCH) \/api\/v1\/(?:repos\/|user\/(?:starred|following|subscriptions|repos|times|stopwatches)|notifications|orgs\/\{org\}\/labels)/,
    ),
  ],
}

export const called = ({ method, path, id, graphql }: Found): string =>
  graphql === undefined ? `${method} ${path} ${id}` : `${graphql} `

/** The rule that decides, with its reason. */
export const judged = (
  provider: string,
  found: Found,
): { readonly is: Access; readonly why: string } => {
  const text = called(found)
  const decides = (RULES[provider] ?? []).find(({ where }) => where.test(text))
  if (decides !== undefined) return decides
  const reads =
    found.graphql === undefined ? found.method === 'GET' : found.graphql.startsWith('query ')
  // Graph's other trees are those of a tenant's administrators, reading too.
  if (provider === 'microsoft') return { is: 'admin', why: 'administration of a tenant' }
  return reads
    ? { is: 'read', why: 'what the method says' }
    : { is: 'admin', why: 'no rule: refused until somebody looked' }
}
