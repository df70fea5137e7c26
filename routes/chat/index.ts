import { readFileSync } from 'node:fs'
import type { FastifyPluginAsync, FastifyReply, RouteHandlerMethod } from 'fastify'

const HEADERS = {
  'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache'
}
const TYPES: Record<string, string> = { html: 'text/html; charset=utf-8', css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8' }
/** Compiled modules lie three folders below the sources of the page: `out/routes/chat/index.js`. */
const PAGE = new URL('../../../routes/chat/', import.meta.url)
const MODULES = new URL('../../', import.meta.url)

export interface ChatPage {
  /** Answers GET on the path of the upgrade. */
  readonly page: RouteHandlerMethod
  /** The page's other files, below `/`. */
  readonly assets: FastifyPluginAsync
}

/**
 * The demo's page. Its few files are read once; nothing else can be asked for.
 * @param room what its routes begin with: `room`, or with the type of the servers that have them
 */
export function createChatPage (room: string): ChatPage {
  const html = Buffer.from(readFileSync(new URL('index.html', PAGE), 'utf8').replace('data-room="room"', `data-room="${room}"`))
  const files = new Map<string, Buffer>()
  for (const name of ['style.css', 'page.js']) files.set(`/${name}`, readFileSync(new URL(name, PAGE)))
  for (const [path, text] of importedModules('client/client.js')) files.set(`/modules/${path}`, Buffer.from(text))
  return {
    page: (_, reply) => send(reply, 'html', html),
    assets: async (fastify) => {
      for (const [path, body] of files) fastify.get(path, (_, reply) => send(reply, path.slice(path.lastIndexOf('.') + 1), body))
    }
  }
}

/** A compiled module and all that it imports, by path below the output folder. */
function importedModules (entry: string, found = new Map<string, string>()): Map<string, string> {
  if (found.has(entry)) return found
  const text = readFileSync(new URL(entry, MODULES), 'utf8')
  found.set(entry, text)
  for (const [, named, loaded] of text.matchAll(/^(?:im|ex)port [^'"\n]*from ['"]([^'"\n]+)['"]|\bimport\(['"]([^'"\n]+)['"]\)/gm)) {
    const specifier = (named ?? loaded)!
    if (!specifier.startsWith('.')) throw new Error(`a browser cannot import ${specifier}, as ${entry} does`)
    importedModules(new URL(specifier, new URL(entry, 'file:///')).pathname.slice(1), found)
  }
  return found
}

function send (reply: FastifyReply, type: string, body: Buffer): FastifyReply {
  return reply.headers(HEADERS).type(TYPES[type]!).send(body)
}
