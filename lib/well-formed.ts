const surrogate = /\p{Surrogate}/u

/** False when a half of a surrogate pair stands alone. */
export function isWellFormed (text: string): boolean {
  return !surrogate.test(text)
}
