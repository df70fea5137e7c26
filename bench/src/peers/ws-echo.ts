/**
 * A plain `ws` server that echoes: what a WebSocket message costs before any protocol. `node ws-echo.js PORT [cork]`.
 * With `cork` the answers of one event-loop turn leave in one write.
 */
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'

const [port, mode] = process.argv.slice(2)
const server = createServer()
const websockets = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 65_536 })

websockets.on('connection', (websocket, { socket }) => {
  if (mode !== 'cork') {
    websocket.on('message', (data) => websocket.send(data))
    return
  }
  let isCorked = false
  const uncork = () => {
    isCorked = false
    socket.uncork()
  }
  websocket.on('message', (data) => {
    if (!isCorked) {
      isCorked = true
      socket.cork()
      setImmediate(uncork)
    }
    websocket.send(data)
  })
})

server.listen(Number(port), '127.0.0.1')
// Must not outlive the benchmark, however that ended.
process.stdin.resume().on('end', () => process.exit())
