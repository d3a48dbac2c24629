// A tool is found by any spelling, and its name is short enough for every host.
import { expect, test } from 'vitest'
import { camel, nearestOf, nearIndex, spelling, wireName } from '../../proxy/tools/names.ts'

test('dots, underscores and case are one spelling', () => {
  expect(
    new Set(
      ['Gmail.SendEmail', 'gmail_sendemail', 'GMAIL.SendEmail', 'Gmail_SendEmail'].map(spelling),
    ).size,
  ).toBe(1)
})

test('a name on the wire has at most 48 letters, and stays one name', () => {
  expect(wireName('Gmail.SendEmail')).toBe('Gmail_SendEmail')
  const long = 'Github.ActionsListSelectedRepositoriesEnabledGithubActionsOrganization'
  expect(wireName(long)).toMatch(/^Github_ActionsListSelectedRepositories\w*_[0-9a-f]{6}$/)
  expect(wireName(long).length).toBeLessThanOrEqual(48)
  expect(wireName(long)).not.toBe(wireName(`${long}s`))
})

test('an id becomes words', () => {
  expect(camel('repos/list-for-org')).toBe('ReposListForOrg')
  expect(camel('gmail.users.messages.send')).toBe('GmailUsersMessagesSend')
})

test('the nearest names come first, and what is like none gets none', () => {
  const names = ['Gmail.SendEmail', 'Gmail.ListEmails', 'Slack.SendMessage', 'Github.CreateIssue']
  expect(nearestOf('Gmail.SendMail', nearIndex(names))[0]).toBe('Gmail.SendEmail')
  expect(nearestOf('zzzz', nearIndex(names))).toEqual([])
  expect(nearestOf('', nearIndex(names))).toEqual([])
})
