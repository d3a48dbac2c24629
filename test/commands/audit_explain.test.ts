// `deputy audit explain`: the story of a call, and where in the files it stands.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { auditExplain } from '../../proxy/commands/audit_explain.ts'
import { decision, evidenceOf, outcome } from '../audit/evidence_lines.ts'

const AT = '2026-11-28T10:00:00.000Z'

test('each line of the call is named with its file', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-explain-'))
  try {
    const file = join(dir, 'audit.jsonl')
    const lines = evidenceOf([
      [AT, 'decision', decision({ exchange: 'A', effect: 'consent_required' })],
      [AT, 'decision', decision({ exchange: 'A', n: 2, path: '/a\u001b[2J' })],
      [AT, 'outcome', outcome('A')],
    ])
    writeFileSync(file, `${lines.join('\n')}\n`)
    const [said, complaints]: [string[], string[]] = [[], []]
    const code = await auditExplain({
      exchange: 'A',
      files: [file],
      inputs: join(dir, 'inputs.jsonl'),
      print: (line) => void said.push(line),
      complain: (line) => void complaints.push(line),
    })
    expect([code, complaints]).toEqual([0, []])
    expect(said.at(-1)).toBe(`Evidence: ${file}:2, ${file}:3.`)
    expect(said.join('')).not.toContain('\u001b')
    expect(said).toContain(`${AT}  It waited, and was decided anew.`)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
