import neostandard from 'neostandard'

const HOST = ['fastify', 'fastify-plugin', '@fastify/*', '**/plugins/**', '**/routes/**', '**/handlers/**', '**/client/**']
const NODE = ['node:*']
/** Who has no cluster over NATS does not load it: these members are loaded by `import()`, and by each other. */
const NATS = ['nats', '**/transports/nats*', '**/stores/nats*']
const LIB = [...HOST, ...NATS]
const TYPES = { allowTypeImports: true }

/** Import rule of one folder, or of some files. A later block replaces an earlier one for the same file, so each carries its full list. */
const only = (place, group, message, options = {}) => ({
  files: [place.endsWith('.ts') ? place : `${place}/**/*.ts`],
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
  only('lib', LIB, 'lib/ is pure: no Fastify, no shell; nats by import() only'),
  only('lib/protocol', [...LIB, ...NODE, '../*/**'], 'lib/protocol: only lib/errors, and it must run in browsers'),
  only('lib/avro', [...LIB, ...NODE, '**/agent/**', '**/handler/**', '**/session/**', '**/cluster/**'], 'lib/avro: it must run in browsers', TYPES),
  only('lib/session', [...LIB, '../agent/**', '../handler/**', '../serializers/**', '../cluster/**', '../groups/**', '../remote/**'],
    'a session knows only an Entity', TYPES),
  only('lib/agent', [...LIB, '../handler/**', '../serializers/**', '../cluster/**', '../groups/**', '../remote/**'],
    'an agent gets onMessage as a parameter', TYPES),
  only('lib/handler', [...LIB, '../agent/**', '../cluster/**', '../groups/**'], 'handlers know neither the wire nor other servers', TYPES),
  only('lib/remote', [...LIB, '../agent/**', '../session/**', '../cluster/**', '../groups/**'], 'remotes get what sends them as a parameter', TYPES),
  only('lib/groups', [...LIB, '../agent/**', '../remote/**',
    '../cluster/*.ts', '../cluster/*/**', '!../cluster/names.ts', '!../cluster/envelopes/envelope.ts'],
  'groups get the parts of the cluster as parameters', TYPES),
  only('lib/cluster', [...LIB, '**/agent/**'], 'other servers do not know the wire', TYPES),
  ...['transports', 'stores', 'discovery', 'envelopes'].map((family) => only(`lib/cluster/${family}`,
    [...LIB, '**/agent/**', '**/session/**', '**/handler/**', '**/remote/**', '**/groups/**'],
    'a member knows its interface and its carrier', TYPES)),
  ...['transports', 'stores'].map((family) => only(`lib/cluster/${family}/nats*.ts`, HOST, 'lib/ is pure: no Fastify, no shell')),
  only('plugins', ['./*', '**/routes/**', '**/client/**'], 'plugins meet by decorator; only plugins/pitaya.ts registers', TYPES),
  free('plugins/pitaya.ts'),
  only('routes', ['**/plugins/**', '**/handlers/**', '**/client/**'], 'routes use decorators', TYPES),
  only('handlers', ['fastify', 'fastify-plugin', '@fastify/*', '**/plugins/**', '**/routes/**', '**/lib/agent/**'], 'use lib/handler/define'),
  only('client', ['fastify', 'fastify-plugin', '@fastify/*', ...NODE, '**/plugins/**', '**/routes/**', '**/handlers/**',
    '**/lib/agent/**', '**/lib/session/**', '**/lib/handler/**', '**/lib/cluster/**', '**/lib/remote/**', '**/lib/groups/**'],
  'client: only protocol and errors; it must run in browsers', TYPES),
  only('client/tcp.ts', ['fastify', 'fastify-plugin', '@fastify/*', '**/plugins/**', '**/routes/**', '**/handlers/**', '**/lib/agent/**'],
    'the one file of the client that needs Node', TYPES),
  only('bin', ['fastify', 'fastify-plugin', '@fastify/*', '**/plugins/**', '**/routes/**', '**/handlers/**'], 'bin: lib and client'),
  { files: ['bin/**', 'scripts/**', 'bench/**', 'examples/**', 'server.ts'], rules: { 'no-console': 'off', 'n/no-process-exit': 'off' } }
]
