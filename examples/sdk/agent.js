// Plain SDK code: Octokit as its documentation shows it, with deputy's address and the name of the person.
import { Octokit } from '@octokit/rest'

const { DEPUTY = 'http://127.0.0.1:7410', PERSON = 'alice' } = process.env
const octokit = new Octokit({ baseUrl: `${DEPUTY}/api.github.com`, auth: `user:${PERSON}` })

try {
  const { data } = await octokit.rest.issues.listForRepo({ owner: 'acme', repo: 'app' })
  for (const { number, title } of data) process.stdout.write(`#${number} ${title}\n`)
} catch (error) {
  // A 403 of deputy's own says so in a header; `url` is for the person.
  if (error.response?.headers['deputy-answer'] !== 'consent_required') throw error
  process.stdout.write(`Please open ${error.response.data.url}\n`)
}
