// Reads what a signed token says in one way: of two members with one name another library would
// take the other.
import { parseStrict } from './json.ts'

/**
 * Nothing is verified here (RFC 7519 4: members of the claims set are unique; RFC 7515 4: those of
 * the header are).
 * @throws SyntaxError when header or claims are not UTF-8, no JSON, or have a member twice
 */
export const assertOneReading = (token: string): void => {
  for (const part of token.split('.', 2)) {
    const bytes = Buffer.from(part, 'base64url')
    const text = bytes.toString('utf8')
    if (!bytes.equals(Buffer.from(text))) throw new SyntaxError('is not UTF-8')
    parseStrict(text)
  }
}
