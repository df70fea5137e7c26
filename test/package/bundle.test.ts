import { relative } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build, stop, type Metafile } from 'esbuild-wasm'
import t from 'tap'
import { root } from '../helpers/vectors.ts'

/** Bytes of gzip. */
const JSON_ONLY = 6000
const WITH_AVRO = 12_000

const CLIENT = './out/client/client.js'
const AVRO = 'out/lib/avro/'
/** What browsers lack, and what a page with a strict policy refuses. */
const FORBIDDEN = /\b(?:Buffer|process|require|eval|new Function)\b/g

interface Bundle {
  /** Files that are loaded at once, and all of them. */
  first: string[]
  files: Map<string, { code: string, gzipBytes: number }>
  metafile: Metafile
}

t.teardown(stop)

t.test('the client without Avro has at most 6 KB, all of it at most 12 KB, and nothing that a browser lacks', async (t) => {
  const client = await bundle([CLIENT])
  // Loaded by the client only where it is asked for.
  const all = inputsOf(client).some((file) => file.startsWith(AVRO)) ? client : await bundle([CLIENT, `./${AVRO}codec.js`])

  const sizes = { jsonOnly: sizeOf(client, client.first), withAvro: sizeOf(all) }
  t.comment(`gzip: ${sizes.jsonOnly} bytes without Avro, ${sizes.withAvro} with it`)
  t.ok(sizes.jsonOnly <= JSON_ONLY, `${sizes.jsonOnly} bytes without Avro`)
  t.ok(sizes.withAvro <= WITH_AVRO, `${sizes.withAvro} bytes with Avro`)

  t.strictSame(inputsOf(client, client.first).filter((file) => file.startsWith(AVRO)), [], 'Avro waits until it is asked for')
  for (const file of ['codec.js', 'compile.js', 'reader.js', 'writer.js']) t.ok(inputsOf(all).includes(AVRO + file), file)

  t.strictSame(inputsOf(all).filter((file) => !/^out\/(?:client|lib)\//.test(file)), [], 'only files of our own')
  const outer = Object.values(all.metafile.outputs).flatMap(({ imports }) => imports).filter(({ external }) => external === true)
  t.strictSame(outer.map(({ path }) => path), [], 'no module of Node, no dependency')
  t.strictSame([...all.files.values()].flatMap(({ code }) => code.match(FORBIDDEN) ?? []), [])
})

/** As an application's own build would: minified, what is imported dynamically apart. */
async function bundle (modules: string[]): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: modules.map((module) => `export * from '${module}'`).join('\n'), resolveDir: root, sourcefile: 'entry.js' },
    absWorkingDir: root,
    bundle: true,
    minify: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    packages: 'external',
    outdir: 'bundle',
    write: false,
    metafile: true
  })
  const files = new Map(outputFiles.map(({ path, contents, text }) => [
    relative(root, path), { code: text, gzipBytes: gzipSync(contents, { level: 9 }).length }
  ]))
  const first = new Set([...files.keys()].filter((name) => metafile.outputs[name]!.entryPoint === 'entry.js'))
  for (const name of first) {
    for (const { path, kind } of metafile.outputs[name]!.imports) if (kind === 'import-statement' && files.has(path)) first.add(path)
  }
  return { first: [...first], files, metafile }
}

function sizeOf ({ files }: Bundle, names: Iterable<string> = files.keys()): number {
  return [...names].reduce((sum, name) => sum + files.get(name)!.gzipBytes, 0)
}

/** The modules that ended up in these files. */
function inputsOf ({ metafile, files }: Bundle, names: Iterable<string> = files.keys()): string[] {
  return [...names].flatMap((name) => Object.entries(metafile.outputs[name]!.inputs))
    .filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([file]) => file)
}
