// Loopback, and plain http past it.
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)

/** Plain http to another machine. */
export const plainHttp = (value: string): boolean => {
  const parsed = new URL(value)
  return parsed.protocol === 'http:' && !isLoopback(parsed.hostname.replace(/^\[|\]$/g, ''))
}

/** Where commands on this machine reach a running deputy: beside the vault's file, else in the folder of the state. */
export const controlSocket = (store: string, at: (path: string) => string): string =>
  at(
    `${store.startsWith('sqlite:') ? store.slice('sqlite:'.length).replace(/[^/]*$/, '') : ''}deputy.sock`,
  )
