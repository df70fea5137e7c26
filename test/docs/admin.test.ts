/** docs/reference-admin.md lists the routes that are registered, in both directions. */
import t from 'tap'
import Fastify from 'fastify'
import pitaya from '../../plugins/pitaya.ts'
import { readPage } from '../helpers/snippets.ts'

interface Schema { querystring?: { properties?: object }, body?: { properties?: object }, response?: object }

const ROUTE = /^\| `((?:GET|POST|PUT|PATCH|DELETE) \/\S+)` \| (.*) \|$/gm
/** The page says of these that every route has them. */
const EVERYWHERE = ['401', '429', '500']

function names (cell: string): string[] { return [...cell.matchAll(/`(\w+)`/g)].map(([, name = '']) => name).sort() }

t.test('every admin route is documented with its query, body and statuses, and no other is', async (t) => {
  const registered: Record<string, object> = {}
  const app = Fastify()
  t.teardown(() => app.close())
  app.addHook('onRoute', ({ method, url, schema }) => {
    if (method === 'HEAD') return
    const { querystring, body, response } = schema as Schema
    const statuses = Object.keys(response ?? {})
    t.strictSame(statuses.filter((status) => EVERYWHERE.includes(status)), EVERYWHERE, `${url}: statuses of every route`)
    registered[`${String(method)} ${url}`] = {
      query: Object.keys(querystring?.properties ?? {}).sort(),
      body: Object.keys(body?.properties ?? {}).sort(),
      statuses: statuses.filter((status) => !EVERYWHERE.includes(status)).sort()
    }
  })
  await app.register(pitaya, { acceptors: false, admin: { token: 'a-token-for-the-test' } })
  await app.ready()
  const documented = Object.fromEntries([...readPage('docs/reference-admin.md').matchAll(ROUTE)].map(([, route = '', rest = '']) => {
    const [query = '', body = '', done = '', otherwise = ''] = ` ${rest} `.split('|')
    return [route, { query: names(query), body: names(body), statuses: `${done},${otherwise}`.match(/\d{3}/g)!.sort() }]
  }))
  t.strictSame(documented, registered)
})
