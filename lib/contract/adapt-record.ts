import { byValue, cannotFit, keep, misfit, type Adapt, type CompilePart, type Defaults, type Part, type Verdict } from './adapt-part.ts'
import { defaultOf, type Field, type RecordShape, type Shape } from './shape.ts'

type Absent = 'left out' | 'null' | 'default' | 'refused'

/** How one field of the target is made. */
interface Plan {
  readonly target: string
  /** Empty: there is no such field, its default stands. */
  readonly source: string
  readonly path: string
  readonly adapt: Adapt | undefined
  /** What becomes of a source that is absent or null. */
  readonly absent: Absent
  readonly makeDefault: () => unknown
}

/** One record into another: each field of the target from the source's of that name or alias, else by its default. */
export function compileRecord (from: RecordShape, to: RecordShape, path: string, defaults: Defaults, compile: CompilePart): Part {
  const matches = matchFields(from.fields, to.fields)
  const plans: Plan[] = []
  const parts: Part[] = []
  /** What is the same in all values that are only written: they inherit it. */
  const given: Record<string, unknown> = {}
  for (const target of to.fields) {
    const inside = `${path}/${target.name}`
    const source = matches.get(target)
    if (source === undefined) {
      if (target.default === undefined) parts.push(cannotFit(inside, 'given'))
      else if (target.isOptional) continue
      else if (defaults === 'shared') given[target.name] = defaultOf(target)
      else {
        const makeDefault = defaultMaker(target, defaults)
        plans.push({ target: target.name, source: '', path: inside, adapt: undefined, absent: 'default', makeDefault })
      }
      continue
    }
    const { part, absent } = compileField(source, target, inside, compile)
    parts.push(part)
    const makeDefault = absent === 'default' ? defaultMaker(target, defaults) : none
    plans.push({ target: target.name, source: source.name, path: inside, adapt: part.adapt, absent, makeDefault })
  }
  const { verdict, fields } = summarize(parts)
  if (verdict === 'cannot fit') return { verdict, fields, adapt: () => { throw misfit(fields[0]!, 'known to both versions') } }
  const sources = new Map(from.fields.map((source) => [source.name, source]))
  const prototype = Object.keys(given).length === 0 ? undefined : given
  const isWhole = prototype === undefined && sources.size === plans.length
  const isSame = isWhole && plans.every((plan) => isUnchanged(plan, sources.get(plan.source)))
  return { verdict, fields, adapt: isSame ? undefined : (value) => adaptRecord(plans, prototype, value, path) }
}

function adaptRecord (plans: readonly Plan[], prototype: object | undefined, value: any, path: string): object {
  if (typeof value !== 'object' || value === null) throw misfit(path, 'an object')
  const result: Record<string, unknown> = prototype === undefined ? {} : Object.create(prototype)
  for (let i = 0; i < plans.length; i++) {
    const { source, target, adapt, absent } = plans[i]!
    const part = source === '' ? undefined : value[source]
    if (part !== undefined && part !== null) result[target] = adapt === undefined ? part : adapt(part)
    else if (absent === 'default') result[target] = plans[i]!.makeDefault()
    else if (absent === 'null') result[target] = null
    else if (absent === 'refused') throw misfit(plans[i]!.path, 'given')
  }
  return result
}

/** Names first, then the aliases of either side; each source is used once. */
function matchFields (sources: readonly Field[], targets: readonly Field[]): Map<Field, Field> {
  const matches = new Map<Field, Field>()
  const unused = new Map(sources.map((source) => [source.name, source]))
  const match = (target: Field, source: Field | undefined): void => {
    if (source === undefined) return
    matches.set(target, source)
    unused.delete(source.name)
  }
  for (const target of targets) match(target, unused.get(target.name))
  if (unused.size === 0) return matches
  const byAlias = new Map<string, Field>()
  for (const source of unused.values()) for (const alias of source.aliases) if (!byAlias.has(alias)) byAlias.set(alias, source)
  for (const target of targets) {
    if (matches.has(target)) continue
    const known = target.aliases.find((alias) => unused.has(alias))
    const source = known === undefined ? byAlias.get(target.name) : unused.get(known)
    if (source !== undefined && unused.has(source.name)) match(target, source)
  }
  return matches
}

/** Null is looked after here, so that what is inside need not. */
function compileField (source: Field, target: Field, path: string, compile: CompilePart): { part: Part, absent: Absent } {
  const [from, to] = [withoutNull(source.type), withoutNull(target.type)]
  const canBeNull = from === undefined || from !== source.type
  const takesNull = to === undefined || to !== target.type
  const absent: Absent = !canBeNull
    ? 'refused'
    : target.isOptional
      ? 'left out'
      : takesNull ? 'null' : source.isOptional && target.default !== undefined ? 'default' : 'refused'
  const isRefusable = canBeNull && absent === 'refused'
  if (from === undefined) return { part: isRefusable ? cannotFit(path, 'given') : byNull(path), absent }
  if (to === undefined) return { part: cannotFit(path, 'null'), absent }
  // An enum has no default of its own in TypeBox: its property's is meant for what it does not know, too.
  const fallback = to.kind === 'enum' && typeof target.default === 'string' ? target.default : undefined
  const part = compile(from, to, path, fallback)
  if (!isRefusable || part.verdict === 'cannot fit') return { part, absent }
  return { part: { ...byValue(path, part.adapt ?? keep), adapt: part.adapt, fields: [...new Set([path, ...part.fields])] }, absent }
}

const none = (): undefined => undefined

/** A source that is always null. */
function byNull (path: string): Part { return { verdict: 'fits', fields: [], adapt: () => { throw misfit(path, 'null') } } }

/** The type of what is not null; undefined: there is nothing else. */
function withoutNull (shape: Shape): Shape | undefined {
  if (shape.kind === 'null') return undefined
  if (shape.kind !== 'union') return shape
  const branches = shape.branches.filter(({ kind }) => kind !== 'null')
  if (branches.length === shape.branches.length) return shape
  return branches.length > 1 ? { kind: 'union', branches } : branches[0]
}

function isUnchanged (plan: Plan, source: Field | undefined): boolean {
  if (source === undefined || plan.target !== source.name || plan.adapt !== undefined) return false
  // A null that stays null, or was never there.
  return plan.absent === (source.isOptional ? 'left out' : 'null') || !canBeNull(source.type)
}

function canBeNull (shape: Shape): boolean { return withoutNull(shape) !== shape }

/** A scalar is given as it is. */
function defaultMaker (field: Field, defaults: Defaults): () => unknown {
  const value = defaultOf(field)
  return defaults === 'anew' && typeof value === 'object' && value !== null ? () => defaultOf(field) : () => value
}

/** What cannot fit names only itself. */
function summarize (parts: readonly Part[]): { verdict: Verdict, fields: string[] } {
  const of = (wanted: Verdict): string[] => parts.flatMap(({ verdict, fields }) => verdict === wanted ? fields : [])
  const refused = of('cannot fit')
  if (refused.length > 0) return { verdict: 'cannot fit', fields: refused }
  const checked = of('fits by value')
  return { verdict: checked.length > 0 ? 'fits by value' : 'fits', fields: checked }
}
