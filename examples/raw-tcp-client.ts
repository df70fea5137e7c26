/** Pitaya's protocol in 40 lines: joins the room over raw TCP, prints what is said there, says what is typed. Arguments: port, name. */
import { connect } from 'node:net'

const [port = '3251', name = 'tcp'] = process.argv.slice(2)
const socket = connect(Number(port), '127.0.0.1')
let unread = Buffer.alloc(0)

/** A packet: type, length in three bytes, body. */
function send (type: number, body = Buffer.alloc(0)): void {
  socket.write(Buffer.concat([Buffer.from([type, body.length >> 16, body.length >> 8, body.length]), body]))
}

/** A message, in a packet of type 4: flag (0 request, 2 notify), a request's id, the route's length, the route, the data. */
function sendMessage (head: number[], route: string, data: object): void {
  send(4, Buffer.concat([Buffer.from([...head, route.length]), Buffer.from(route + JSON.stringify(data))]))
}

function onPacket (type: number, body: Buffer): void {
  if (type === 1) {                                   // the handshake's answer: acknowledge it, keep the beat, join
    send(2)
    setInterval(send, JSON.parse(body.toString()).sys.heartbeat * 1000, 3)
    sendMessage([0, 1], 'room.join', {})
  } else if (type === 4 && body[0] === 6) {           // a push: route and data
    const dataAt = 2 + body[1]!
    const { name, content, members } = JSON.parse(body.toString('utf8', dataAt))
    console.log(name !== undefined ? `${name}: ${content}` : content ?? `in the room: ${members.join(', ')}`)
  } else if (type === 5) console.log('kicked')
}

socket.on('data', (chunk) => {
  unread = Buffer.concat([unread, chunk])
  for (let end; unread.length >= 4 && unread.length >= (end = 4 + unread.readUIntBE(1, 3)); unread = unread.subarray(end)) {
    onPacket(unread[0]!, unread.subarray(4, end))
  }
})
socket.on('close', () => process.exit())
process.stdin.on('data', (text) => {
  for (const content of text.toString().trim().split('\n')) sendMessage([2], 'room.message', { name, content })
})
send(1, Buffer.from('{"sys":{},"user":{}}'))
