import type { CodecRow, Outcome } from './job.ts'
import type { Progress, Row } from './run.ts'
import type { Scenario } from './scenarios.ts'
import { ratio, type Spread, spread } from './statistics.ts'

/** A target with what was measured for it; no ratio where one of the two did not run. */
export interface Verdict { scenario: string, text: string, measured?: Spread, limit: number, unit: '×' | 'KB', isFloor: boolean }

/** Shows on one line what is being done now; nothing where the stream is no terminal. */
export function makeProgress (stream: NodeJS.WriteStream): Progress {
  if (!stream.isTTY) return () => {}
  return (text) => { stream.write(`\r\x1b[2K${text.slice(0, stream.columns - 1)}`) }
}

/** The figure of a scenario in one run. */
export function figures (row: Row, scenario: Scenario): number[] {
  return row.outcomes.map((outcome) => {
    if (scenario.load.mode === 'idle') return outcome.kilobytes
    return scenario.load.mode === 'client' ? rateOf(outcome) : outcome.cpu
  })
}

function rateOf ({ messages, seconds }: Outcome): number {
  return messages / seconds
}

export function tableOf (scenario: Scenario, rows: Row[]): string {
  const base = rows[0] === undefined ? [] : figures(rows[0], scenario)
  const { mode } = scenario.load
  const isClient = mode === 'client'
  const more = isClient ? ['client µs', 'server', 'client'] : ['per second', 'server', 'generator']
  const header = [scenario.unit, 'median', 'min … max', 'relative', ...(mode === 'idle' ? [] : more)]
  const write = (figure: number) => isClient ? Math.round(figure).toLocaleString('en') : figure.toFixed(2)
  const lines = rows.filter((row) => row.outcomes.length > 0).map((row) => {
    const values = figures(row, scenario)
    const { median, min, max } = spread(values)
    const relative = base.length === 0 ? '' : ratio(values, base).median.toFixed(2)
    const cells = [row.entry.label, write(median), `${write(min)} … ${write(max)}`, relative]
    if (mode === 'idle') return cells
    const rate = spread(row.outcomes.map(rateOf)).median
    const own = spread(row.outcomes.map((outcome) => outcome.generatorLoad * 1e6 / rateOf(outcome))).median
    const load = (key: 'serverLoad' | 'generatorLoad') => `${(spread(row.outcomes.map((outcome) => outcome[key])).median * 100).toFixed(0)} %`
    return [...cells, isClient ? own.toFixed(2) : Math.round(rate).toLocaleString('en'), load('serverLoad'), load('generatorLoad')]
  })
  const skipped = rows.filter((row) => row.skipped !== undefined).map((row) => `  skipped: ${row.entry.label}: ${row.skipped}`)
  const title = `${scenario.title} (median of ${scenario.rounds})`
  return [title, ...(lines.length > 0 ? align([header, ...lines]) : []), ...rows.flatMap(processesOf), ...skipped].join('\n')
}

/** What each process of a cluster took; nothing for a server of one process. */
function processesOf ({ entry, outcomes }: Row): string[] {
  const processes = outcomes[0]?.processes ?? []
  if (processes.length < 2) return []
  const shares = processes.map(({ name, isCounted }, i) => {
    const { median } = spread(outcomes.map((outcome) => outcome.processes[i]?.cpu ?? NaN))
    return `${name} ${median.toFixed(2)}${isCounted ? '' : ' (not counted)'}`
  })
  return [`  ${entry.label}: ${shares.join(', ')}`]
}

export function codecTable (rows: CodecRow[], rounds: number): string {
  const lines = rows.map(({ name, bytes, ns }) => {
    const { median, min, max } = spread(ns)
    return [name, median.toFixed(0), `${min.toFixed(0)} … ${max.toFixed(0)}`, String(bytes)]
  })
  return [`codecs (median of ${rounds})`, ...align([['ns per operation', 'median', 'min … max', 'bytes'], ...lines])].join('\n')
}

export function verdictsOf (scenario: Scenario, rows: Row[]): Verdict[] {
  const values = (label: string) => figures(rows.find((row) => row.entry.label === label) as Row, scenario)
  return scenario.targets.map(({ of, to, limit }) => {
    const text = to === undefined ? of : `${of} / ${to}`
    const [own, others] = [values(of), to === undefined ? [] : values(to)]
    const isMeasured = own.length > 0 && (to === undefined || others.length > 0)
    const measured = !isMeasured ? undefined : to === undefined ? spread(own) : ratio(own, others)
    return { scenario: scenario.title, text, measured, limit, unit: to === undefined ? 'KB' : '×', isFloor: scenario.load.mode === 'client' }
  })
}

export function targetTable (verdicts: Verdict[]): string {
  const lines = verdicts.map(({ scenario, text, measured, limit, unit, isFloor }) => [
    `${scenario}: ${text}`,
    measured === undefined ? '–' : `${measured.median.toFixed(2)} ${unit}`,
    measured === undefined ? '' : `${measured.min.toFixed(2)} … ${measured.max.toFixed(2)}`,
    `${isFloor ? '≥' : '≤'} ${limit.toFixed(2)}`,
    measured === undefined ? 'not measured' : (isFloor ? measured.median >= limit : measured.median <= limit) ? 'met' : 'MISSED'
  ])
  return ['targets', ...align([['', 'median', 'min … max', 'target', ''], ...lines])].join('\n')
}

/** Columns: the first to the left, the others to the right. */
export function align (rows: string[][]): string[] {
  const widths = (rows[0] as string[]).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  return rows.map((row) => '  ' + row.map((cell, column) => {
    const width = widths[column] as number
    return column === 0 ? cell.padEnd(width) : cell.padStart(width)
  }).join('  ').trimEnd())
}
