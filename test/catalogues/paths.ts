// Ids for vendors that give none: the literal segments of the path, joined by dots, and what the call does.
const VERSION = /^v\d+(?:\.\d+)?$/
const parameter = (segment: string): boolean => segment.startsWith('{')

/**
 * `GET /v1.0/me/messages/{id}` → `me.messages.get`
 * @param kind what the last literal names: `action` is its own word
 */
export const idOf = (
  method: string,
  path: string,
  kind: 'collection' | 'one' | 'action',
): string => {
  const segments = path.split('/').filter((segment) => segment !== '')
  const words = segments
    .filter((segment) => !parameter(segment) && !VERSION.test(segment))
    .map((segment) => segment.replaceAll(/\(.*\)$/g, '').replaceAll(/[^\w.:$/-]/g, ''))
  if (kind === 'action') return words.join('.')
  const verb =
    method === 'GET'
      ? kind === 'collection'
        ? 'list'
        : 'get'
      : { POST: 'create', DELETE: 'delete', PATCH: 'update', PUT: 'update' }[method]
  return [...words, verb ?? method.toLowerCase()].join('.')
}
