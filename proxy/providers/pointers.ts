// How a file of deputy names a place in JSON (RFC 6901).
import { z } from 'zod'

export const pointer = z
  .string()
  .max(500)
  .regex(/^(?:\/(?:[^~/]|~[01])*)+$/, 'must be a JSON pointer, such as /user/id')
export const pointers = z.array(pointer).max(100)
