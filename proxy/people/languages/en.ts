// Every word of the pages in English. What has a value in it is a function; whoever shows it
// escapes it (`html`).
import { html } from 'hono/html'
import type { Access } from '../../model.ts'
import { CATALOGUE, type ProblemCode } from '../../problem.ts'

/** A page that is sentences only. */
type Note = { readonly title: string; readonly lines: readonly string[] }
/** Something that ended; null: its name is not known any more. */
type Gone = {
  readonly provider: string | null
  readonly account: string | null
  readonly agent: string | null
}

const name = (provider: string | null): string => provider ?? 'The provider'
const account = ({ provider, account: of }: Gone): string =>
  of ? `${name(provider)} (${of})` : name(provider)
const forgotten = (gone: Gone): string =>
  `deputy has deleted its access to ${account(gone)}, and no agent can use it any more.`
const byHand = ({ provider }: Gone): string =>
  `To be sure, remove the application in your account settings at ${name(provider)}.`

export const en = {
  /** BCP 47. */
  tag: 'en',
  help: 'Get help',
  reference: 'Reference for your administrator:',
  unverified: '(not verified)',
  seeConnections: 'See what is connected, and disconnect',

  label: {
    agent: 'Agent',
    provider: 'Provider',
    connection: 'Connection',
    storedFor: 'Stored for',
    connectedAs: 'Connected as',
    allowed: 'Allowed',
    lastUsed: 'Last used',
    code: 'Code',
    status: 'HTTP status',
  },

  scope: {
    verb: {
      read: 'Read',
      write: 'Create and change',
      delete: 'Delete',
      admin: 'Administer',
    } as Readonly<Record<Access, string>>,
    also: 'Also',
    more: (names: string, more: number) => `${names} and ${more} more`,
    /** Scopes whose meaning OpenID Connect Core 5.4 and 11 fix for every provider. */
    known: {
      openid: 'Know which account is yours',
      profile: 'See your name and picture',
      email: 'See your e-mail address',
      offline_access: 'Keep the connection while you are away',
    },
    ownName: (provider: string) => `A permission that ${provider} names itself`,
    nothing: (provider: string) => `What ${provider} grants every application.`,
    allowedNone: 'Nothing, as your organisation’s policy stands at present',
    /** Before what the scope would allow, where policy allows less. */
    wider: (provider: string) => `${provider} words it more widely:`,
  },

  consent: {
    titleGrant: (agent: string, provider: string) => `Let ${agent} use your ${provider} account?`,
    title: (agent: string, provider: string) => `Connect ${provider} for ${agent}?`,
    intro: (agent: string, provider: string) =>
      html`The agent <strong>${agent}</strong> wants to act for you at <strong>${provider}</strong>.
        It never sees your password or your access token, and your organisation’s policy decides on
        every single call.`,
    occasion: (agent: string) => `${agent} asks because it wants to do this:`,
    stronger: (provider: string) =>
      `${provider} asks you to sign in there again, more strongly or more recently than before, until it lets the agent go on.`,
    withdrawn: (provider: string) =>
      `You connected this account before, and ${provider} has withdrawn the permission since.`,
    may: 'What the agent may do',
    again: 'What you allowed earlier is asked for again, so that it stays:',
    warning: (agent: string) =>
      `Go on only if you are using ${agent} yourself and it has just given you this link. If somebody else sent it to you, choose “No, thanks” and tell your security team.`,
    next: 'What happens next',
    nextGrant: (provider: string) =>
      `You connected ${provider} before, so nothing is asked there. Only this agent’s permission is stored.`,
    nextProvider: (provider: string) =>
      `You go to ${provider}, sign in with your own account and confirm there. Then you come back here.`,
    yesGrant: (agent: string) => `Allow ${agent}`,
    yes: (provider: string) => `Continue to ${provider}`,
    no: 'No, thanks',
  },

  key: {
    opens: (provider: string) =>
      `${provider} has no sign-in for applications, so your key is needed. It opens all that it opens for you; the agent never sees it, and may do only what your organisation’s policy allows.`,
    next: (provider: string) =>
      `Make a key of your own at ${provider}, for this alone if you can, and paste it here. deputy shows it to ${provider} once to see whether it is good, and keeps it encrypted.`,
    label: (provider: string) => `Your own key of ${provider}`,
    hint: 'It is never shown again, and nobody else can use it. To end its use, disconnect it here and delete it where you made it.',
    yes: 'Store my key',
    malformed: () =>
      'That does not look like a key: it must be one line of 12 to 4,096 characters without blanks. Nothing was stored.',
    refused: (provider: string) =>
      `${provider} does not accept this key, so nothing was stored. Look whether it is whole and still valid.`,
    unknown: (provider: string) =>
      `${provider} did not say whether this key is good, so nothing was stored. Try again in a moment.`,
  },

  done: {
    title: (provider: string) => `${provider} is connected`,
    already: (provider: string) => `${provider} is already connected`,
    missing: (provider: string) =>
      `${provider} did not grant everything. Calls that need these will ask you again:`,
    back: 'You can close this page and go back to the agent.',
  },

  plan: {
    title: (agent: string) => `What ${agent} still needs from you`,
    intro: (agent: string) =>
      `${agent} plans several things at once. Answer for one provider after another; nothing happens before you do.`,
    left: (n: number) => (n === 1 ? 'One is left.' : `${n} are left.`),
    over: 'Nothing is left to do here.',
    open: (provider: string) => `Go on with ${provider}`,
    completed: 'Done',
    failed: 'Not granted',
    gone: 'This link has ended',
    back: 'See what is left',
  },

  goOn: {
    title: (to: string) => `On to ${to}`,
    body: (to: string, location: string) =>
      html`If nothing happens, <a href="${location}">go on to ${to}</a>.`,
  },

  wrongPerson: {
    title: 'This link is not for you',
    lines: [
      'You are signed in as somebody else than the person this link was made for. Nothing was connected and nothing was changed.',
      'If somebody sent you this link, tell your security team: an account must only be connected by its owner.',
      'If it is your own link, sign out at your organisation, open the link again and sign in with the right account.',
    ],
  },
  expired: {
    title: 'This link is no longer valid',
    lines: [
      'It has ended, was used already or never existed. Nothing was changed.',
      'Go back to the agent and repeat what you asked for: it will give you a new link.',
    ],
  },
  inactive: {
    title: 'Your account is suspended',
    lines: [
      'Your organisation does not list you as active, so nothing was connected.',
      'Ask your administrator, then repeat what you asked the agent for.',
    ],
  },
  agentOff: {
    title: 'This agent is switched off',
    lines: [
      'Its owner or an operator has switched it off for everybody, so nothing was connected.',
      'The link is good again once it is switched on, until it ends by itself.',
    ],
  },
  tenantFull: {
    title: 'Your organisation may connect no more',
    lines: [
      'As many people or accounts as your organisation may connect here are connected already, so nothing was connected.',
      'Ask your administrator, then repeat what you asked the agent for.',
    ],
  },
  awaiting: {
    title: 'Waiting for your application',
    lines: [
      'This step is done. The application that you use the agent in has to confirm that it was you.',
      'Go back to that application. Without its confirmation nothing is stored, and what was granted is given back.',
    ],
  },
  denied: {
    title: 'Nothing was connected',
    lines: [
      'You said no, and the agent has been told. You can close this page.',
      'If you change your mind, ask the agent again: it will give you a new link.',
    ],
  },
  mismatch: (provider: string): Note => ({
    title: 'That is another account',
    lines: [
      `You connected a different ${provider} account before, so the new one was not stored.`,
      'Ask the agent again and choose the same account, or disconnect the old one first.',
    ],
  }),
  providerError: (provider: string | null): Note => ({
    title: `${name(provider)} did not complete the connection`,
    lines: [
      'Nothing was stored. This is usually temporary.',
      'Go back to the agent and repeat what you asked for. If it happens again, tell your administrator.',
    ],
  }),
  admin: (provider: string): Note => ({
    title: 'An administrator has to approve this first',
    lines: [
      `Your organisation at ${provider} lets only approved applications in, and this one is not among them for you. Nothing was stored.`,
      `Ask an administrator of your organisation at ${provider} to approve it, then go back to the agent and repeat what you asked for.`,
    ],
  }),
  stronger: (provider: string): Note => ({
    title: `${provider} wants another sign-in`,
    lines: [
      `${provider} did not accept the way you signed in: it may want a second factor, or a device that your organisation manages. Nothing was stored.`,
      'Open the link that the agent gives you again, and sign in the way it is asked for there.',
    ],
  }),
  clientRefused: (provider: string): Note => ({
    title: `${provider} does not accept this application`,
    lines: [
      'It is not registered there as it is set up here, so nothing was stored. You cannot mend this, and trying again does not help.',
      'Tell your administrator, who finds the cause in the record of this authorization.',
    ],
  }),
  brokenCallback: {
    title: 'This answer cannot be used',
    lines: [
      'It does not belong to a connection that this browser has begun, or it was used already. Nothing was changed.',
      'Open the link that the agent gave you again, in this browser.',
    ],
  },
  signInFailed: {
    title: 'The sign-in did not work',
    lines: ['Nothing was changed. Open the link that the agent gave you again to start over.'],
  },
  refusedForm: {
    title: 'This form cannot be used any more',
    why: 'It was sent from another page, or your sign-in has ended or changed since. Nothing was changed.',
    link: 'Open the link that the agent gave you again.',
    again: 'Open the page again',
  },
  stray: {
    title: 'This browser did not ask for this page',
    lines: [
      'Your sign-in was made for another browser, or took too long. Nothing was shown.',
      'If somebody sent you here, tell your security team.',
    ],
    own: 'See your own connections',
  },
  signedOut: {
    title: 'You are signed out here',
    lines: [
      'Your organisation may still know this browser: on a computer that you share, sign out there too.',
    ],
  },
  notFound: { title: 'There is nothing here', lines: ['Check the address.'] },
  failure: {
    title: 'deputy failed',
    lines: ['Nothing was completed. Try again; if it happens again, tell your administrator.'],
  },

  code: {
    title: 'Is that you at the terminal?',
    intro: (command: string) =>
      html`The terminal in which deputy runs shows a code. You can also read it with
        <code>${command}</code>.`,
    wrong: 'That is not the code. Each code works once.',
    wait: 'Too many wrong codes. Wait a minute, then try again.',
    name: 'That is not a name that an agent could use for you.',
    user: 'Your name, as agents use it',
    hint: 'Eight letters and digits, such as ABCD-EFGH.',
    label: 'Code',
    submit: 'Continue',
  },

  index: {
    what: 'Here people connect their own accounts, so that an agent may act for them without ever holding their credentials.',
    how: 'To connect one, open the link that your agent gave you.',
  },

  problem: {
    todo: 'What to do',
    detail: (member: string) =>
      html`The answer that brought you here has a <code>${member}</code> that names the exact cause.`,
  },
  problems: CATALOGUE as Readonly<
    Record<ProblemCode, { readonly title: string; readonly todo: string }>
  >,

  mine: {
    title: 'My connections',
    none: 'No account is connected.',
    intro:
      'These accounts of yours may be used by the agents below. Disconnecting works at once, also for what an agent is doing right now.',
    connectedAs: (of: string) => html`Connected as <strong>${of}</strong>.`,
    connection: (called: string) => `Connection ${called}`,
    withdrawn: (provider: string) =>
      `${provider} has withdrawn this permission. An agent that needs it will give you a link to connect again.`,
    noAgent: 'No agent may use it.',
    never: 'Not yet',
    may: (agent: string) => `What ${agent} may do`,
    signedInAs: (person: string, note: string) =>
      html`Signed in as <strong>${person}</strong>${note}.`,
  },

  agent: {
    title: 'My agents',
    none: 'No agent may act for you.',
    intro: 'These agents may act for you:',
    owned: 'Agents that you own',
    id: 'Called',
    owner: 'Owner',
    contact: 'Contact',
    workload: 'Runs as',
    unknown:
      'Your organisation does not know this agent: nobody there has said who it is. Go on only if you do.',
    offSince: (by: 'owner' | 'operator'): string =>
      by === 'owner'
        ? 'Switched off by its owner. Nothing of it is let through since'
        : 'Switched off by an operator. Nothing of it is let through since',
    forYou: 'What it may do for you',
    nothing: 'Nothing.',
    everybody: 'For whom it may act',
    count: (people: number, connections: number) =>
      `${people === 1 ? '1 person' : `${people} people`} of your organisation, at ${connections === 1 ? '1 connection' : `${connections} connections`}.`,
    more: (people: number) => `and ${people} more`,
    notYours: 'An operator has switched it off: only an operator can switch it on again.',
    sureStop: (agent: string) => ({
      title: `Stop ${agent} for you?`,
      told: `${agent} can no longer act for you, and what it is doing for you stops. Your accounts stay connected, and other people and agents go on.`,
      button: `Stop ${agent} for me`,
    }),
    sureOff: (agent: string) => ({
      title: `Switch ${agent} off for everybody?`,
      told: `Nothing of ${agent} is let through any more, for anybody, and what it is doing stops within a second. What people allowed it is kept until it is switched on again.`,
      button: `Switch ${agent} off for everybody`,
    }),
    sureOn: (agent: string) => ({
      title: `Switch ${agent} on again?`,
      told: `${agent} may act again for everybody who allowed it.`,
      button: `Switch ${agent} on again`,
    }),
    told: {
      stopped: (agent: string) =>
        `${agent} can no longer act for you. What it was doing for you was stopped.`,
      off: (agent: string) => `${agent} is switched off for everybody.`,
      on: (agent: string) => `${agent} is switched on again.`,
      unchanged: (agent: string) => `${agent}: nothing was changed, somebody was quicker.`,
    },
  },

  standing: {
    title: 'While you are away',
    asked: (agent: string, workload: string, at: string) =>
      html`<strong>${agent}</strong>, running as ${workload}, wants to do the following for you at
        ${at} by itself, without you being there and without asking you again:`,
    days: (most: number) => `For how many days? At most ${most}; you may choose fewer.`,
    warning:
      'Your organisation’s policy still decides on every single call. You can shorten or stop this at any time at “My connections”; it works at once.',
    intro:
      'These programs act for you by themselves. Stopping works at once, also for what one is doing right now.',
    item: (agent: string, workload: string) => `${agent}, running as ${workload}`,
    until: 'Until',
    shorter: 'Days in all, counted from the day you allowed it',
    shorten: 'Shorten',
  },

  approval: {
    title: (agent: string, provider: string) => `May ${agent} do this at ${provider}?`,
    intro: (agent: string) =>
      html`The agent <strong>${agent}</strong> is about to make exactly one call, and your
        organisation’s policy wants the yes of somebody like you first. You approve this call only,
        once, as it stands below.`,
    givenTitle: 'You approved this call',
    given:
      'Everything that policy asks for is said. The call may leave once; until then you can take it back.',
    for: 'In the name of',
    does: 'What it does',
    until: 'Answer until',
    digest: 'Digest of the call',
    why: 'Why you are asked:',
    answers: 'Who has answered',
    open: 'nobody yet',
    by: (names: unknown) => html`approved by ${names}`,
    warning:
      'Approve it only if you understand all that is sent and would do it yourself. If you did not expect this, decline it and tell your security team.',
    parts: (n: number) => `One call that does ${n} things`,
    asked: '(you are asked about this)',
    sent: 'What will be sent',
    request: 'Method and address',
    headers: 'Headers',
    adds: (provider: string) =>
      `deputy adds the person’s own access token for ${provider}. Headers that only number or trace the request are not shown.`,
    body: 'Body',
    noBody: 'It has no body.',
    size: (bytes: number) => `${bytes} bytes.`,
    mail: 'The mail in it',
    mailTo: { to: 'To', cc: 'Cc', bcc: 'Bcc' },
    mailAttachments: 'Attachments',
    mailUnread: 'Nobody could read here whom this mail goes to. Approve it only if you know.',
    pretty: 'In lines',
    raw: 'As it is sent',
    unreadable:
      'This is no text that a person could read, so it is shown in Base64. Approve it only if you know from elsewhere what it is.',
    yes: 'Approve this call',
    no: 'Decline',
    withdraw: 'Take it back',
    stranger: {
      title: 'You are no approver of this',
      lines: [
        'Policy asks somebody else about this call, so nothing of it is shown to you and nothing was changed.',
        'If you were sent this link although you know nothing of it, tell your security team.',
      ],
    },
    declined: {
      title: 'This call was declined',
      lines: ['The agent has been told, and the call does not leave. You can close this page.'],
    },
    used: {
      title: 'This call has left',
      lines: [
        'It was approved, and the approval is used up. The same call again needs another one.',
      ],
    },
    missed: {
      title: 'Nothing was changed',
      lines: [
        'Somebody else answered at the same moment, or the call has left or ended meanwhile.',
        'Open the link again to see how it stands.',
      ],
    },
  },

  stepUp: {
    title: 'Sign in again, more strongly',
    intro: (agent: string) =>
      html`<strong>${agent}</strong> wants to do this for you, and your organisation’s policy asks
        for a stronger or more recent sign-in first:`,
    how: (minutes: number) =>
      minutes <= 1
        ? 'You go to your organisation’s sign-in and come back here. It must be new, and one of:'
        : `You go to your organisation’s sign-in and come back here. It must be at most ${minutes} minutes old, and one of:`,
    yes: 'Sign in again',
    lacked: {
      acr: 'You signed in, but not as strongly as policy asks. Choose another way there, such as a second factor.',
      auth_time:
        'You signed in, but your organisation did not say when, or it was too long ago. Try again; if it stays so, tell your administrator.',
    },
    done: {
      title: 'You have signed in as was asked',
      lines: ['The agent can go on. You can close this page and go back to it.'],
    },
    declined: {
      title: 'You did not sign in again',
      lines: ['The agent has been told. You can close this page.'],
    },
  },

  sure: {
    cancel: 'Cancel',
    signOut: {
      title: 'Sign out here?',
      told: 'Your connections stay, and your agents go on. To see them here you sign in again.',
      button: 'Sign out',
    },
    disconnect: (provider: string, of: string) => ({
      title: `Disconnect ${provider}?`,
      told: `No agent can use ${of} any more, and what they are doing there stops. To use it again you connect it anew.`,
      button: `Disconnect ${provider}`,
    }),
    stop: (agent: string, of: string) => ({
      title: `Stop ${agent}?`,
      told: `${agent} can no longer use ${of}, and what it is doing there stops. Other agents go on.`,
      button: `Stop ${agent}`,
    }),
    standing: (agent: string, at: string) => ({
      title: `Stop ${agent} while you are away?`,
      told: `${agent} can no longer act at ${at} without you, and what it is doing there stops. It may ask you again.`,
      button: `Stop ${agent} while I am away`,
    }),
  },

  /** How a disconnection went, in sentences. What is not confirmed is never called withdrawn. */
  ending: {
    revoked: (gone: Gone) => [
      `${account(gone)} is disconnected. ${name(gone.provider)} has confirmed that the access is withdrawn.`,
    ],
    access_outlives: (gone: Gone) => [
      `${account(gone)} is disconnected. ${name(gone.provider)} has confirmed that the access is not renewed; what was given out before ends by itself.`,
    ],
    already_dead: (gone: Gone) => [
      `${account(gone)} is disconnected. ${name(gone.provider)} had ended the access before.`,
    ],
    not_supported: (gone: Gone) => [
      forgotten(gone),
      `${name(gone.provider)} offers no way to withdraw the access from here. ${byHand(gone)}`,
    ],
    failed: (gone: Gone) => [
      forgotten(gone),
      `${name(gone.provider)} has not confirmed that the access is withdrawn. ${byHand(gone)}`,
    ],
    agent: (gone: Gone) => [
      `${gone.agent ?? 'The agent'} may no longer use ${account(gone)}. What it was doing there was stopped.`,
    ],
    standing: (gone: Gone) => [
      `${gone.agent ?? 'The agent'} may no longer act at ${name(gone.provider)} while you are away. What it was doing there was stopped.`,
    ],
    shorter: (gone: Gone) => [
      `${gone.agent ?? 'The agent'} may act at ${name(gone.provider)} while you are away for a shorter time now.`,
    ],
    gone: () => ['That had been disconnected before. Nothing was changed.'],
  },
}

/** What a language must have: what English has. */
export type Texts = typeof en
