/** A plain `net` server that writes back what it reads: the floor of TCP in Node.js. `node net-echo.js PORT`. */
import { createServer } from 'node:net'

createServer({ noDelay: true }, (socket) => {
  socket.on('data', (data) => socket.write(data))
  socket.on('error', () => socket.destroy())
}).listen(Number(process.argv[2]), '127.0.0.1')
// Must not outlive the benchmark, however that ended.
process.stdin.resume().on('end', () => process.exit())
