/** Of several runs: what is quoted and how far the runs lie apart. */
export interface Spread { median: number, min: number, max: number }

/** Throws on an empty list. */
export function spread (values: number[]): Spread {
  if (values.length === 0) throw new RangeError('no runs, no median')
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length >> 1
  const upper = sorted[half] as number
  const median = sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] as number)) / 2
  return { median, min: sorted[0] as number, max: sorted.at(-1) as number }
}

/** Ratios round by round: the machine's mood changes between rounds more than within one. */
export function ratio (of: number[], to: number[]): Spread {
  return spread(of.map((value, round) => value / (to[round] as number)))
}
