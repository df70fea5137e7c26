import { existsSync, readFileSync } from 'node:fs'

/** USER_HZ, 100 on every architecture that Node.js runs on. The kernel counts in ns and only reports in these ticks. */
const TICKS_PER_SECOND = 100

export interface CpuSeconds { user: number, system: number }

/** Why nothing can be measured here, or undefined. */
export function unmeasurable (): string | undefined {
  return existsSync('/proc/self/stat') ? undefined : 'this benchmark reads CPU time and memory from /proc, which only Linux has'
}

/** CPU seconds that a process, all of its threads, has used so far. Throws if it is gone. */
export function cpuSeconds (pid: number): CpuSeconds {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The second field is the program's name in parentheses and may hold blanks.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { user: Number(fields[11]) / TICKS_PER_SECOND, system: Number(fields[12]) / TICKS_PER_SECOND }
}

/** Resident memory of a process in KB. */
export function residentKilobytes (pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])
}

/** Seconds that the hypervisor gave to others while a core of ours wanted to run. */
export function stealSeconds (): number {
  const [cpu = ''] = readFileSync('/proc/stat', 'latin1').split('\n', 1)
  return Number(cpu.split(/\s+/)[8]) / TICKS_PER_SECOND
}

/** The cores this process may run on. */
export function allowedCores (): number[] {
  const list = /^Cpus_allowed_list:\s+(\S+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? ''
  return list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, i) => first + i)
  })
}
