// How SCIM says no (RFC 7644 3.12).

/** A refusal in SCIM's own shape. */
export class ScimError extends Error {
  readonly status: number
  readonly scimType: string | null
  readonly headers: Readonly<Record<string, string>>
  constructor(
    status: number,
    scimType: string | null,
    message: string,
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(message)
    this.headers = headers
    this.status = status
    this.scimType = scimType
  }
}

export const errorBody = (status: number, scimType: string | null, detail: string): string =>
  JSON.stringify({
    schemas: ['urn:ietf:params:scim:api:messages:2.0:Error'],
    status: String(status),
    ...(scimType === null ? {} : { scimType }),
    detail,
  })
