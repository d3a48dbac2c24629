// A connection inside a connection: a stream of HTTP/2 is handed on as a connection of its own, and who asks what stands
// around it (its encryption, its client's certificate) asks the outer one.
import type { Duplex } from 'node:stream'

const outer = new WeakMap<object, Duplex>()

export const carry = (inner: Duplex, by: Duplex): void => void outer.set(inner, by)

/** What a connection is carried by; itself where nothing carries it. */
export const outerOf = <S extends object>(socket: S): S | Duplex => outer.get(socket) ?? socket
