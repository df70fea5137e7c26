/** The reference pages say what the code says, in both directions. */
import { join } from 'node:path'
import t from 'tap'
import { Type } from '@sinclair/typebox'
import ts from 'typescript'
import { channels } from '../../lib/channels.ts'
import { MemoryBus } from '../../lib/cluster/memory-bus.ts'
import type { NatsConnectionLike } from '../../lib/cluster/nats-options.ts'
import { describeEnvironment } from '../../lib/environment.ts'
import { closes, describeError, errorCodes } from '../../lib/errors.ts'
import { defaults, resolveOptions, type PitayaOptions } from '../../lib/options.ts'
import { createProgram, pages, readPage, root } from '../helpers/snippets.ts'

const optionsFile = join(root, 'lib/options.ts')
const optionsFiles = [optionsFile, join(root, 'lib/cluster/nats-options.ts')]
const channelsFile = join(root, 'lib/channels.ts')

/** The cells of all table rows whose first cell is code, without its backticks. */
function rows (page: string): string[][] {
  const lines = readPage(`docs/${page}`).split('\n').filter((line) => line.startsWith('| `'))
  return lines.map((line) => line.slice(1, -1).split(' | ').map((cell) => cell.trim().replace(/^`([^`]*)`$/, '$1')))
}

function valueAt (object: unknown, path: string): unknown {
  return path.split('.').reduce((value, name) => (value as Record<string, unknown> | undefined)?.[name], object)
}

/** How a default stands in a document. */
function written (value: unknown): string {
  return value === Number.MAX_SAFE_INTEGER ? 'no limit' : JSON.stringify(value)
}

t.test('every error is documented with its code, status and text, and no other is', async (t) => {
  const documented = rows('reference-errors.md').filter(([code]) => code!.startsWith('PIT_ERR_'))
  const known = errorCodes.map(describeError).map(({ code, status, wireCode, text }) => [code, String(status), wireCode, text])
  t.strictSame(documented.map((row) => row.slice(0, 4)), known)
  t.strictSame(documented.filter((row) => row.length !== 6 || row.includes('')), [], 'when, and what to do')
})

t.test('every close code is documented with its text, and no other is', async (t) => {
  const documented = rows('reference-errors.md').filter(([name]) => !name!.startsWith('PIT_ERR_')).map((row) => row.slice(0, 3))
  t.strictSame(documented, Object.entries(closes).map(([name, { code, text }]) => [name, String(code), text]))
})

t.test('every error code that a page names exists', async (t) => {
  const named = pages().flatMap((page) => [...readPage(page).matchAll(/PIT_ERR_[A-Z_]+/g)].map(([code]) => `${page}: ${code}`))
  t.strictSame(named.filter((name) => !(errorCodes as string[]).includes(name.split(': ')[1]!)), [])
})

/** A valid value for every option: a name that the check of the options does not know would be refused. */
const samples: Required<PitayaOptions> = {
  ...defaults,
  serverId: 'one',
  acceptors: {
    websocket: { path: '/', page: () => {}, origins: ['https://game.example'] },
    tcp: { port: 0, host: '::', tls: {}, proxyProtocol: { trusted: ['10.0.0.0/8'] }, name: 'inner' }
  },
  dictionary: 'auto',
  compression: { minBytes: 1 },
  handshake: { user: Type.Object({}), validators: { none: () => {} } },
  session: { ...defaults.session, data: Type.Object({}), onBind: () => {}, afterBind: () => {}, onClose: () => {} },
  cluster: {
    ...defaults.cluster,
    memory: new MemoryBus(),
    nats: {
      servers: '127.0.0.1',
      user: 'game',
      pass: 'secret',
      token: 'secret',
      credentials: '-----BEGIN',
      nkeySeed: 'SU',
      tls: { ca: 'PEM', cert: 'PEM', key: 'PEM', handshakeFirst: true },
      connection: { publish () {}, subscribe () {}, isClosed () {}, jetstream () {} } as unknown as NatsConnectionLike,
      name: 'game',
      replicas: 3,
      storage: 'file'
    }
  },
  admin: { prefix: '/operators', token: 'at-least-16-characters', auth: () => {} },
  ops: { prefix: '/ops' }
}

const program = createProgram([optionsFile, channelsFile])
const checker = program.getTypeChecker()

/** Paths of all options of a type: `all`, and those that hold a value rather than only further options. */
function optionsOf (type: ts.Type, prefix = ''): { all: string[], values: string[] } {
  const all: string[] = []
  const values: string[] = []
  for (const property of type.getProperties()) {
    const path = `${prefix}${property.name}`
    const members = partsOf(checker.getTypeOfSymbol(property))
    const groups = members.filter(isGroup)
    const inner = groups.map((group) => optionsOf(group, `${path}.`))
    all.push(path, ...inner.flatMap(({ all }) => all))
    if (groups.length < members.length) values.push(path)
    values.push(...inner.flatMap(({ values }) => values))
  }
  return { all: [...new Set(all)], values: [...new Set(values)] }
}

/** Members of a union, an array as what it holds. */
function partsOf (type: ts.Type): ts.Type[] {
  const given = checker.getNonNullableType(type)
  const parts = given.isUnion() ? given.types : [given]
  return parts.map((part) => checker.isArrayType(part) ? checker.getTypeArguments(part as ts.TypeReference)[0]! : part)
}

/** True for an object whose properties are written as options are; an object with methods is a value. */
function isGroup (type: ts.Type): boolean {
  const properties = (type.flags & ts.TypeFlags.Object) === 0 ? [] : type.getProperties()
  return properties.length > 0 && properties.every(({ declarations: [at] = [] }) => {
    return at !== undefined && ts.isPropertySignature(at) && optionsFiles.includes(at.getSourceFile().fileName)
  })
}

function exported (file: string, name: string): ts.Symbol {
  const module = checker.getSymbolAtLocation(program.getSourceFile(file)!)!
  return checker.getExportsOfModule(module).find((symbol) => symbol.name === name)!
}

t.test('every option is documented with its default, and no other is', async (t) => {
  const { all, values } = optionsOf(checker.getDeclaredTypeOfSymbol(exported(optionsFile, 'PitayaOptions')))
  t.ok(values.length > 50)
  const documented = rows('reference-options.md').filter(([name]) => !/^[A-Z_]+$/.test(name!))
  const names = documented.map(([name]) => name!)
  t.strictSame(names, [...new Set(names)], 'once each')
  t.strictSame(names.filter((name) => !all.includes(name)), [], 'no other')
  t.strictSame(values.filter((name) => !names.includes(name)), [], 'every one')
  const wrong = documented.filter(([name, value]) => valueAt(defaults, name!) !== undefined && written(valueAt(defaults, name!)) !== value)
  t.strictSame(wrong, [], 'defaults')
})

t.test('every option is known to the check at start', async (t) => {
  const { values } = optionsOf(checker.getDeclaredTypeOfSymbol(exported(optionsFile, 'PitayaOptions')))
  const isArrayOf = ['acceptors.websocket', 'acceptors.tcp']
  t.strictSame(values.filter((name) => valueAt(samples, name) === undefined && !isArrayOf.includes(name)), [])
  // One carrier at a time.
  const { nats, memory, ...cluster } = samples.cluster!
  for (const carrier of [{ nats }, { memory }]) t.ok(resolveOptions({ ...samples, cluster: { ...cluster, ...carrier } }))
})

t.test('every limit is documented with its default and what a client sees', async (t) => {
  const documented = rows('reference-limits.md').filter(([name]) => name!.startsWith('limits.'))
  const known = Object.entries(defaults.limits).map(([name, value]) => [`limits.${name}`, written(value)])
  t.strictSame(documented.map(([name, value]) => [name, value]).sort(), known.sort())
  t.strictSame(documented.filter(([, , sees]) => sees === ''), [])
})

t.test('every environment variable of the runnable server is documented with its default, and no other is', async (t) => {
  const documented = rows('reference-options.md').filter(([name]) => /^[A-Z_]+$/.test(name!)).map(([name, value]) => [name, value])
  const known = describeEnvironment().split('\n').map((line) => {
    const [, name, value = 'none'] = /^ +(\S+) .*?(?: \[(.*)\])?$/.exec(line) ?? []
    return [name, value]
  })
  t.strictSame(documented, known)
})

t.test('every channel is documented with its payload, and no other is', async (t) => {
  const type = checker.getTypeOfSymbol(exported(channelsFile, 'channels'))
  const known = type.getProperties().map((property) => {
    const publish = checker.getTypeOfSymbol(checker.getTypeOfSymbol(property).getProperty('publish')!)
    const payload = checker.getTypeOfSymbol(publish.getCallSignatures()[0]!.getParameters()[0]!)
    const fields = payload.getProperties().map(({ name }) => name).filter((name) => name !== 'serverId')
    return [String(channels[property.name as keyof typeof channels].name), property.name, fields.sort()]
  })
  const documented = rows('reference-channels.md').map(([name, key, , payload = '']) => {
    return [name, key, [...`\`${payload}\``.matchAll(/`+([A-Za-z]+)`/g)].map(([, field]) => field).sort()]
  })
  t.strictSame(documented, known)
})
