/** For Fastify's option `logger`: writes into memory, `raw` as written, `lines` parsed. */
export function logSink () {
  const raw: string[] = []
  const lines: Array<Record<string, unknown>> = []
  const stream = { write (text: string) { raw.push(text); lines.push(JSON.parse(text) as Record<string, unknown>) } }
  return { logger: { level: 'info', stream }, lines, raw }
}
