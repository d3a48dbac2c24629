// A web backend with many users: one key of its own, and each request names the user that it is for.
import Arcade from '@arcadeai/arcadejs'

const { DEPUTY = 'http://127.0.0.1:7410', KEY = '', PEOPLE = '' } = process.env
const client = new Arcade({ baseURL: DEPUTY, apiKey: KEY, maxRetries: 0 })

/** One request of one user. */
const handle = async (user_id) => {
  const { data, error } = await client.tools
    .execute({ tool_name: 'Github.WhoAmI', input: {}, user_id })
    .then(
      (data) => ({ data, error: null }),
      (error) => ({ data: null, error }),
    )
  if (error?.status === 403 && error.error?.url !== undefined)
    return `please open ${error.error.url}`
  if (error !== null) throw error
  return data.success ? data.output.value.login : data.output.error.message
}

const people = PEOPLE.split(',')
const answers = await Promise.all(people.map(handle))
people.forEach((person, i) => process.stdout.write(`${person}: ${answers[i]}\n`))
