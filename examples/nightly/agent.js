// A nightly job: nobody is there, and a run token stands where the SDK has its key. It is good for one person, one agent,
// some connections and some hours.
import { Octokit } from '@octokit/rest'

const { DEPUTY = 'http://127.0.0.1:7410', RUN = '' } = process.env
const octokit = new Octokit({ baseUrl: `${DEPUTY}/api.github.com`, auth: RUN })

/** Instead of a model: a summary of what it reads. */
const model = (issues) => `${issues.length} open: ${issues.map(({ title }) => title).join(', ')}`

try {
  const { data } = await octokit.rest.issues.listForRepo({ owner: 'acme', repo: 'app' })
  process.stdout.write(`${model(data)}\n`)
} catch (error) {
  // Nobody can open a link at night: say what was missing, and end.
  const code = error.response?.headers['deputy-answer']
  if (code === undefined) throw error
  process.stdout.write(`Not done: ${code}\n`)
}
