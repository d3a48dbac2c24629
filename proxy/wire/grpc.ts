// What gRPC says beside HTTP/2 ("gRPC over HTTP2", protocol document): its media type, its statuses, and a refusal that its
// clients understand. Its messages stay unread.
import { CATALOGUE, sentence, type Problem, type ProblemAnswer } from '../problem.ts'

const MEDIA = /^application\/grpc(?:\+[\w.-]+)?(?:[ \t]*;|[ \t]*$)/i
/** Is a call with this `Content-Type` of gRPC? gRPC-Web, whose trailers are in its body, is not. */
export const isGrpc = (contentType: string | undefined | null): boolean =>
  contentType != null && MEDIA.test(contentType.trim())

/** Does an operation whose bodies are `opaque` take a body of this type? `application/grpc` stands for each of its encodings. */
export const takes = (opaque: string, essence: string | null): boolean =>
  essence === opaque || (opaque === 'application/grpc' && isGrpc(essence))

/** google.rpc.Code by HTTP status, number and name. */
const STATUS: Readonly<Record<number, readonly [number, string]>> = {
  400: [3, 'INVALID_ARGUMENT'],
  401: [16, 'UNAUTHENTICATED'],
  403: [7, 'PERMISSION_DENIED'],
  404: [5, 'NOT_FOUND'],
  405: [12, 'UNIMPLEMENTED'],
  408: [4, 'DEADLINE_EXCEEDED'],
  409: [10, 'ABORTED'],
  413: [8, 'RESOURCE_EXHAUSTED'],
  415: [3, 'INVALID_ARGUMENT'],
  429: [8, 'RESOURCE_EXHAUSTED'],
  431: [8, 'RESOURCE_EXHAUSTED'],
  500: [13, 'INTERNAL'],
  502: [14, 'UNAVAILABLE'],
  503: [14, 'UNAVAILABLE'],
  504: [4, 'DEADLINE_EXCEEDED'],
}
export const statusName = (status: number): string => STATUS[status]?.[1] ?? 'UNKNOWN'

/** `grpc-message`: UTF-8, every byte but visible ASCII and the blank in percent, and the percent sign too. */
const escaped = (text: string): string =>
  Buffer.from(text, 'utf8')
    .toString('latin1')
    .replaceAll(
      /[^\x20-\x24\x26-\x7e]/g,
      (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
    )

/** The status and the sentence, with the person's link. @param status of HTTP */
const toldBy = ({ message, extra: { url } }: Problem, status: number) => {
  const said = sentence(message)
  const link = typeof url !== 'string' || said.includes(url) ? '' : ` ${url}`
  return {
    'grpc-status': String(STATUS[status]?.[0] ?? 2),
    'grpc-message': escaped(said + link),
  }
}

/** The trailers of a stream that deputy ends after it began: with a reset alone, its caller would not know why. */
export const endedBy = (problem: Problem): [string, string][] => [
  ...Object.entries(toldBy(problem, CATALOGUE[problem.code].status)),
  ['deputy-answer', problem.code],
]

/** Of the header section of HTTP, not of a call of gRPC. */
const NOT_ITS_OWN = ['content-type', 'content-length', 'www-authenticate']
/**
 * A refusal as its caller reads one. Clients of gRPC: HTTP 200, no message, the status, the sentence and the person's link in
 * the only header section (trailers-only); all others: as it is.
 * @param contentType of the request
 */
export const refusedIn = (
  contentType: string | undefined,
  answer: ProblemAnswer,
  problem: Problem,
): ProblemAnswer => {
  if (!isGrpc(contentType)) return answer
  const others = Object.entries(answer.headers).filter(([name]) => !NOT_ITS_OWN.includes(name))
  return {
    status: 200,
    headers: {
      'content-type': 'application/grpc',
      ...toldBy(problem, answer.status),
      'content-length': '0',
      ...Object.fromEntries(others),
    },
    body: '',
  }
}

/**
 * The headers of a call of gRPC as its provider gets them: `te` is of each hop, and messages come as they are, so that they
 * can be searched for the token.
 * @param headers lower-case names and values in turn
 */
export const grpcHeaders = (headers: readonly string[], searched: boolean): string[] => {
  const kept = headers.filter(
    (_, i) => !(searched && headers[i - (i % 2)] === 'grpc-accept-encoding'),
  )
  return [...kept, 'te', 'trailers', ...(searched ? ['grpc-accept-encoding', 'identity'] : [])]
}
