/* global document, localStorage, location */
import { connect } from './modules/client/client.js'

/** What the room's routes begin with: the server knows which servers have them. */
const { room } = document.body.dataset
const MAX_LINES = 500
/** A message is a notify, which nobody answers: it was delivered when it comes back, as it does to all members of the room. */
const CONFIRM_MS = 5000
const KICKED = 4504
const RECONNECT = { minMs: 500, maxMs: 15_000 }
const RETRY_MS = 2000

const [state, again, messages, members, form, name, content, send] =
  ['state', 'again', 'messages', 'members', 'compose', 'name', 'content', 'send'].map((id) => document.getElementById(id))
let client
/** Messages of this page that have not come back, in the order they were sent. */
let inHand = []

name.value = remembered() ?? `guest-${Math.floor(1000 + Math.random() * 9000)}`
name.addEventListener('change', () => remember(name.value))
again.addEventListener('click', () => { start(); content.focus() })
form.addEventListener('submit', (event) => {
  event.preventDefault()
  const message = { name: name.value.trim(), content: content.value.trim() }
  if (send.disabled || message.name === '' || message.content === '') return
  client.notify(`${room}.message`, message)
  keep(message)
  content.value = ''
  content.focus()
})
start()

/** Connects. Once that worked the client comes back by itself after a loss. */
async function start () {
  show('waiting', 'connecting')
  again.hidden = true
  try {
    client = await connect(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/`, { serializer: 'avro', reconnect: RECONNECT })
  } catch (error) {
    later(start, error)
    return
  }
  client.on('onMembers', ({ members }) => listMembers(members))
  client.on('onNewUser', ({ content }) => { addLine(undefined, content); addMember(content.replace(/^New user: /, '')) })
  client.on('onMessage', ({ name, content }) => { settle(name, content); addLine(name, content) })
  client.onStateChange(onState)
  onState(client.state)
}

function onState (state) {
  send.disabled = true
  if (state.name === 'open') { join(); return }
  if (state.name === 'connecting') { show('waiting', 'connecting'); return }
  for (const message of inHand) doubt(message)
  if (state.name === 'waiting') show('closed', `${state.reason || 'connection lost'}; trying again`)
  else end(state.code === KICKED && state.reason !== 'kicked' ? `kicked: ${state.reason}` : state.reason)
}

/** Each connection is a new session, which has to join. */
async function join () {
  const { answer } = client
  try {
    await client.request(`${room}.join`, {})
    if (client.answer !== answer) return
    send.disabled = false
    show('open', 'connected')
  } catch (error) {
    // Lost, it is told by its state, and the next one joins by itself.
    const isSame = () => client.answer === answer && client.state.name === 'open'
    if (isSame()) later(() => { if (isSame()) join() }, error)
  }
}

/** What the client does not try again by itself: the first connection, and the room behind a server that is there. */
function later (step, { message }) {
  show('closed', `${message}; trying again`)
  setTimeout(step, RETRY_MS * (0.5 + Math.random()))
}

function end (text) {
  show('closed', text)
  addLine(undefined, text)
  again.hidden = false
  again.focus()
}

/** Shows a message that was sent, paler until it comes back. */
function keep (message) {
  const item = addLine(message.name, message.content)
  item.dataset.state = 'sent'
  const kept = { ...message, item, timer: setTimeout(() => doubt(kept), CONFIRM_MS) }
  inHand = [...inHand.filter(({ item }) => item.isConnected), kept]
}

/** Takes away the line of a message that came back: it goes where all others have it. */
function settle (name, content) {
  const isSame = (message) => message.name === name && message.content === content
  const kept = inHand.find((message) => isSame(message) && message.item.dataset.state === 'sent') ?? inHand.find(isSame)
  if (kept === undefined) return
  clearTimeout(kept.timer)
  inHand = inHand.filter((message) => message !== kept)
  kept.item.remove()
}

/** It may be lost, or only what would have told us. */
function doubt ({ item, timer }) {
  clearTimeout(timer)
  if (item.dataset.state === 'doubtful') return
  item.dataset.state = 'doubtful'
  item.append(element('strong', 'delivery not confirmed'))
}

function show (kind, text) {
  state.dataset.state = kind
  state.textContent = text
}

function listMembers (uids) {
  members.replaceChildren()
  uids.forEach(addMember)
}

function addMember (uid) {
  members.append(element('li', element('bdi', uid)))
}

/** One message, or without a name a notice, as a line at the end. Everything that came from others is text, never markup. */
function addLine (name, text) {
  const now = new Date()
  const time = element('time', now.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }))
  time.dateTime = now.toISOString()
  const line = element('p', element('bdi', text))
  if (name === undefined) line.className = 'notice'
  else {
    const author = element('bdi', name)
    author.className = 'name'
    line.prepend(author)
  }
  const isAtEnd = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 40
  const item = element('li', time, line)
  messages.append(item)
  if (messages.childElementCount > MAX_LINES) messages.firstElementChild.remove()
  if (isAtEnd) messages.scrollTop = messages.scrollHeight
  return item
}

function element (tag, ...children) {
  const made = document.createElement(tag)
  made.append(...children)
  return made
}

// A browser may refuse storage to a page.
function remembered () {
  try { return localStorage.getItem('name') ?? undefined } catch { return undefined }
}
function remember (value) {
  try { localStorage.setItem('name', value) } catch {}
}
