// A value that will not print. `reveal()` is called in vault/seal, oauth/client, oauth/own_token, wire/headers, net/tunnel, directory/ldap_wire and pipeline/application only (a test says so).
import { inspect } from 'node:util'

export type Secret = { readonly reveal: () => string }

/** Wraps a secret so that JSON, template strings, `console` and loggers print `[redacted]`; it cannot be structured-cloned. */
export const secret = (value: string): Secret =>
  Object.freeze({
    reveal: () => value,
    toJSON: () => '[redacted]',
    toString: () => '[redacted]',
    [inspect.custom]: () => '[redacted]',
  })
