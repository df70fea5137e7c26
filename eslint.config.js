import neostandard from 'neostandard'

const HOST = ['fastify', 'fastify-plugin', '@fastify/*', '**/plugins/**', '**/routes/**', '**/handlers/**', '**/client/**']
const NODE = ['node:*']

/** One folder's import rule. A later block replaces an earlier one for the same file, so each carries its full list. */
const only = (folder, group, message, options = {}) => ({
  files: [`${folder}/**/*.ts`],
  rules: { '@typescript-eslint/no-restricted-imports': ['error', { patterns: [{ group, message, ...options }] }] }
})
const free = (file) => ({ files: [file], rules: { '@typescript-eslint/no-restricted-imports': 'off' } })

export default [
  ...neostandard({ ts: true, ignores: ['out', 'coverage', '.tap', 'bench/node_modules', 'bench/out'] }),
  {
    rules: {
      '@stylistic/max-len': ['error', { code: 140, ignoreStrings: true, ignoreTemplateLiterals: true, ignoreRegExpLiterals: true, ignoreUrls: true }],
      '@stylistic/comma-dangle': ['error', 'never'],
      'n/prefer-node-protocol': 'error',
      'n/no-process-exit': 'error',
      'no-console': 'error'
    }
  },
  {
    files: ['**/*.ts'],
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      // `import { type X }` alone would stay behind as an import for its side effects.
      '@typescript-eslint/no-import-type-side-effects': 'error',
      // A constant set and the union of its values share a name; tsc reports real redeclarations.
      '@typescript-eslint/no-redeclare': 'off'
    }
  },
  only('lib', HOST, 'lib/ is pure: no Fastify, no shell'),
  only('lib/protocol', [...HOST, ...NODE, '../*/**'], 'lib/protocol: only lib/errors, and it must run in browsers'),
  only('lib/session', [...HOST, '../agent/**', '../handler/**', '../serializers/**'], 'a session knows only an Entity', { allowTypeImports: true }),
  only('lib/agent', [...HOST, '../handler/**', '../serializers/**'], 'an agent gets onMessage as a parameter', { allowTypeImports: true }),
  only('lib/handler', [...HOST, '../agent/**'], 'handlers do not know the wire', { allowTypeImports: true }),
  only('plugins', ['./*', '**/routes/**', '**/client/**'], 'plugins meet by decorator; only plugins/pitaya.ts registers', { allowTypeImports: true }),
  free('plugins/pitaya.ts'),
  only('routes', ['**/plugins/**', '**/handlers/**', '**/client/**'], 'routes use decorators', { allowTypeImports: true }),
  only('handlers', ['fastify', 'fastify-plugin', '@fastify/*', '**/plugins/**', '**/routes/**', '**/lib/agent/**'], 'use lib/handler/define'),
  only('client', ['fastify', 'fastify-plugin', '@fastify/*', ...NODE, '**/plugins/**', '**/routes/**', '**/handlers/**',
    '**/lib/agent/**', '**/lib/session/**', '**/lib/handler/**'], 'client: only protocol and errors; it must run in browsers', { allowTypeImports: true }),
  { files: ['scripts/**', 'bench/**', 'examples/**', 'server.ts'], rules: { 'no-console': 'off', 'n/no-process-exit': 'off' } }
]
