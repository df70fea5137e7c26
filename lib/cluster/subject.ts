const KEY = /^[\w-]+(\.[\w-]+)*$/

/** Whether a subject or a key matches: `*` stands for one token, a last `>` for one or more. */
export function createMatcher (filter: string): (subject: string) => boolean {
  if (!hasWildcard(filter)) return (subject) => subject === filter
  const tokens = filter.split('.').map((token) => token === '*' ? '[^.]+' : token === '>' ? '.+' : token.replace(/[^\w-]/g, '\\$&'))
  const pattern = new RegExp(`^${tokens.join('\\.')}$`, 's')
  return (subject) => pattern.test(subject)
}

export function hasWildcard (filter: string): boolean {
  return /(^|\.)[*>](\.|$)/.test(filter)
}

/** @throws TypeError: keys are put together by names.ts, so a wrong one is a slip of ours */
export function assertKey (key: string): void {
  if (!KEY.test(key)) throw new TypeError(`illegal key: ${JSON.stringify(key)}`)
}
