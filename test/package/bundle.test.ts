import { gzipSync } from 'node:zlib'
import { build, stop, type Plugin } from 'esbuild-wasm'
import t from 'tap'
import { root } from '../helpers/vectors.ts'

/** Bytes of gzip. */
const JSON_ONLY = 6 * 1024
const WITH_AVRO = 12 * 1024

/** What browsers lack, and what a page with a strict policy refuses. */
const FORBIDDEN = /\b(?:Buffer|process|require|eval|new Function)\b/g

t.teardown(stop)

t.test('what a page loads without Avro has at most 6 KB, with it at most 12 KB, and nothing that a browser lacks', async (t) => {
  const [first, all] = [await bundle({ isWhole: false }), await bundle({ isWhole: true })]
  t.comment(`gzip: ${first.gzipBytes} bytes without Avro, ${all.gzipBytes} with it`)
  t.ok(first.gzipBytes <= JSON_ONLY, `${first.gzipBytes} bytes without Avro`)
  t.ok(all.gzipBytes <= WITH_AVRO, `${all.gzipBytes} bytes with Avro`)
  t.strictSame(first.inputs.filter((file) => /avro|inflate/.test(file)), [], 'what few need waits until it is asked for')
  for (const file of ['codec', 'compile', 'reader', 'writer']) t.ok(all.inputs.includes(`out/lib/avro/${file}.js`), file)
  t.strictSame(all.inputs.filter((file) => !/^out\/(?:client|lib)\//.test(file)), [], 'only files of our own')
  t.strictSame(all.external, ['./inflate-stream.js'], 'no module of Node, no dependency; and what inflates waits')
  t.strictSame(all.code.match(FORBIDDEN) ?? [], [])
})

/** As an application's own build would, into one file; `isWhole`: with Avro, which is imported dynamically. */
async function bundle ({ isWhole }: { isWhole: boolean }) {
  const isApart = (path: string): boolean => !isWhole || path.includes('inflate')
  const apart: Plugin = {
    name: 'apart',
    setup: ({ onResolve }) => onResolve({ filter: /^/ }, ({ kind, path }) => kind === 'dynamic-import' && isApart(path) ? { path, external: true } : undefined)
  }
  const { outputFiles, metafile } = await build({
    stdin: { contents: "export * from './out/client/client.js'", resolveDir: root, sourcefile: 'entry.js' },
    absWorkingDir: root,
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    packages: 'external',
    write: false,
    metafile: true,
    plugins: [apart]
  })
  const [{ inputs, imports }] = Object.values(metafile.outputs) as [typeof metafile.outputs[string]]
  return {
    code: outputFiles[0]!.text,
    gzipBytes: gzipSync(outputFiles[0]!.contents, { level: 9 }).length,
    inputs: Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([file]) => file),
    external: imports.filter(({ external }) => external === true).map(({ path }) => path)
  }
}
