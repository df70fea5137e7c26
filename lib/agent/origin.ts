/**
 * May a browser page of this origin open a connection to this host? Native clients send no Origin and may.
 * @param host the Host header that the client meant, with its port if it named one
 * @param allowed exact origins, or `*`
 */
export function isOriginAllowed (origin: string | undefined, host: string, allowed: readonly string[] | '*'): boolean {
  if (origin === undefined || allowed === '*' || allowed.includes(origin)) return true
  return isSameHost(origin, host)
}

function isSameHost (origin: string, host: string): boolean {
  try {
    const { origin: parsed, protocol } = new URL(origin)
    // Anything beside scheme, host and port is not an origin; `null` and schemes without hosts have none.
    if (parsed !== origin.toLowerCase()) return false
    // Through a URL the scheme's default port goes away, as it does in an origin.
    return new URL(`${protocol}//${host}`).href === `${parsed}/`
  } catch {
    return false
  }
}
