// The ten lines of each language in docs/sdks.md, run as they stand there.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { providersAt, startDeputy, TABLES, type Deputy, type Fields } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { JARS } from './java.ts'

const book = readFileSync(new URL('../../docs/sdks.md', import.meta.url), 'utf8')
const block = (language: string): string =>
  new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'm').exec(book)?.[1] ?? ''
const cache = (name: string): string => join(homedir(), '.cache/deputy-ci', name)
const PYTHON = process.env['DEPUTY_PYCLIENTS'] ?? cache('pyclients-3/bin/python')

type Language = {
  readonly file: string
  /** The block, and around it a program that asks for argv's address as each further person, and prints what came. */
  readonly program: (block: string) => string
  readonly command: string
  readonly args: readonly string[]
  /** What it needs beside the command. */
  readonly needs: string
}
const LANGUAGES: Readonly<Record<string, Language>> = {
  ts: {
    file: 'helper.ts',
    program: (code) => `${code}
const [url = '', ...people] = process.argv.slice(2)
for (const person of people)
  try {
    const answer = await deputyFetch(url, { headers: { 'Deputy-User': person } })
    console.log(JSON.stringify({ status: answer.status }))
  } catch (error) {
    if (!(error instanceof DeputyRefusal)) throw error
    const { message, code, url, retry_after } = error
    console.log(JSON.stringify({ message, code, url, retry_after }))
  }
`,
    command: process.execPath,
    args: [],
    needs: process.execPath,
  },
  python: {
    file: 'helper.py',
    program: (code) => `import json, sys, requests
${code}
session = requests.Session()
session.hooks['response'].append(checked)
for person in sys.argv[2:]:
    try:
        answer = session.get(sys.argv[1], headers={'Deputy-User': person})
        print(json.dumps({'status': answer.status_code}))
    except DeputyRefusal as error:
        said = {'message': str(error), 'code': error.code, 'url': error.url, 'retry_after': error.retry_after}
        print(json.dumps({name: value for name, value in said.items() if value is not None}))
`,
    command: PYTHON,
    args: [],
    needs: PYTHON,
  },
  go: {
    file: 'helper.go',
    program: (code) => `package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

${code}
func main() {
	client := &http.Client{Transport: Deputy{http.DefaultTransport}}
	for _, person := range os.Args[2:] {
		request, err := http.NewRequest("GET", os.Args[1], nil)
		if err != nil {
			panic(err)
		}
		request.Header.Set("Deputy-User", person)
		answer, err := client.Do(request)
		var refusal *DeputyRefusal
		if errors.As(err, &refusal) {
			said := map[string]any{"message": refusal.Error(), "code": refusal.Code}
			if refusal.URL != "" {
				said["url"] = refusal.URL
			}
			if refusal.RetryAfter != "" {
				said["retry_after"] = json.Number(refusal.RetryAfter)
			}
			line, _ := json.Marshal(said)
			fmt.Println(string(line))
		} else if err != nil {
			panic(err)
		} else {
			fmt.Printf("{\\"status\\":%d}\\n", answer.StatusCode)
		}
	}
}
`,
    command: 'go',
    args: ['run'],
    needs: '',
  },
  java: {
    file: 'Helper.java',
    program: (code) => `import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.*;
import java.util.*;

class Helper {
  public static void main(String[] args) throws Exception {
    var client = HttpClient.newHttpClient();
    for (var person : List.of(args).subList(1, args.length)) {
      var said = new TreeMap<String, Object>();
      try {
        var request = HttpRequest.newBuilder(URI.create(args[0])).header("Deputy-User", person).build();
        said.put("status", DeputyRefusal.checked(client.send(request, HttpResponse.BodyHandlers.ofString())).statusCode());
      } catch (DeputyRefusal refusal) {
        said.put("message", refusal.getMessage());
        said.put("code", refusal.code);
        if (refusal.url != null) said.put("url", refusal.url);
        if (refusal.retryAfter != null) said.put("retry_after", Integer.parseInt(refusal.retryAfter));
      }
      System.out.println(new ObjectMapper().writeValueAsString(said));
    }
  }
}
${code}`,
    command: 'java',
    args: ['-XX:TieredStopAtLevel=1', '-cp', `${JARS}/*`],
    needs: JARS,
  },
}
const names = Object.keys(LANGUAGES)
let folder = ''
let upstream: Upstream
let deputy: Deputy
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-helpers-'))
  upstream = await startUpstream()
  for (const name of names) upstream.people.set(`at-of-${name}-0123456789abcdef`, name)
  // A 403 of the provider's own is the first answer that each person gets, and the limit comes with their third call.
  const counted = new Map<string | null, number>()
  upstream.handle = ({ who }, res) => {
    counted.set(who, (counted.get(who) ?? 0) + 1)
    res
      .writeHead(counted.get(who) === 1 ? 403 : 200, { 'content-type': 'application/json' })
      .end('{}')
  }
  const calls = { type: 'rate_limit', properties: { key: ['person'], limit: 2, window_s: 3600 } }
  const { acme } = TABLES['grants'] as { readonly acme: { readonly use: Fields } }
  const errors = [{ message: '{detail}', errorCode: '{CODE}' }]
  deputy = await startDeputy({
    upstream: upstream.origin,
    // A vendor whose errors are a list, as Salesforce's.
    config: {
      providers: providersAt(upstream.origin).map((one) =>
        one['id'] === 'stream' ? { ...one, errors } : one,
      ),
    },
    people: [...names, 'nobody'].map((id) => ({ id, groups: ['staff'] })),
    held: names.map((person) => ({ person, token: `at-of-${person}-0123456789abcdef` })),
    tables: {
      ...TABLES,
      grants: { ...TABLES['grants'], acme: { use: { ...acme.use, obligations: { calls } } } },
    },
  })
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
  rmSync(folder, { recursive: true })
})

const consent = () => ({
  code: 'consent_required',
  message: expect.stringContaining('connect') as string,
  url: expect.stringContaining(`${deputy.connect}/connect/`) as string,
})
const missing = (needs: string): boolean => {
  if (needs === '' || existsSync(needs)) return false
  if (process.env['DEPUTY_NO_SKIP'] === '1')
    throw new Error(`${needs} is missing: .ci/run makes it`)
  process.stderr.write(`SKIPPED: ${needs} is missing: .ci/run makes it\n`)
  return true
}

for (const [name, { file, program, command, args, needs }] of Object.entries(LANGUAGES))
  test.skipIf(missing(needs))(
    `${name}: what deputy answers is thrown, what the provider answers is not`,
    { timeout: 120_000 },
    async () => {
      const path = join(folder, file)
      writeFileSync(path, program(block(name)))
      const saidOf = async (host: string, people: readonly string[]): Promise<unknown[]> => {
        const url = `${deputy.agent}/${host}/notes`
        const how = { cwd: folder, timeout: 110_000 }
        const { stdout } = await promisify(execFile)(command, [...args, path, url, ...people], how)
        const lines = stdout.trim().split('\n')
        return lines.map((line) => JSON.parse(line) as unknown)
      }
      const said = await saidOf('api.acme.test', [name, name, name, 'nobody'])
      expect(said).toEqual([
        { status: 403 },
        { status: 200 },
        {
          code: 'rate_limited',
          message: expect.stringContaining('limit'),
          retry_after: expect.any(Number),
        },
        consent(),
      ])
      expect(await saidOf('api.stream.test', ['nobody'])).toEqual([consent()])
    },
  )

test('each helper is short: 17 lines at most', () => {
  for (const name of names) {
    const lines = block(name)
      .split('\n')
      .filter((line) => line.trim() !== '')
    expect([name, lines.length <= 17]).toEqual([name, true])
    expect(lines.length).toBeGreaterThan(5)
  }
})
