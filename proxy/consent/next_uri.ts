// Where a person may be sent after a consent: to the application's own origins.

/** Is this next_uri one that the configuration allows? */
export const mayReturnTo = (returnTo: readonly string[], nextUri: string): boolean =>
  URL.canParse(nextUri) &&
  /^https?:$/.test(new URL(nextUri).protocol) &&
  returnTo.includes(new URL(nextUri).origin)
