/* global document, localStorage, location */
import { connect } from './modules/client/client.js'
import { inflate } from './modules/client/inflate.js'

/** What the room's routes begin with: the server knows which servers have them. */
const { room } = document.body.dataset
const MAX_LINES = 500
/** A message is a notify, which nobody answers: it was delivered when it comes back, as it does to all members of the room. */
const CONFIRM_MS = 5000
const FIRST_RETRY_MS = 500
const LAST_RETRY_MS = 15_000
/** From here on a close code means: do not come back by yourself. */
const FINAL_CODES = 4500
const KICKED = 4504

const [state, again, messages, members, form, name, content, send] =
  ['state', 'again', 'messages', 'members', 'compose', 'name', 'content', 'send'].map((id) => document.getElementById(id))
let client
/** Messages of this page that have not come back, in the order they were sent. */
let inHand = []
let retryMs = FIRST_RETRY_MS

name.value = remembered() ?? `guest-${Math.floor(1000 + Math.random() * 9000)}`
name.addEventListener('change', () => remember(name.value))
again.addEventListener('click', () => { retryMs = FIRST_RETRY_MS; join(); content.focus() })
form.addEventListener('submit', (event) => {
  event.preventDefault()
  const message = { name: name.value.trim(), content: content.value.trim() }
  if (client === undefined || message.name === '' || message.content === '') return
  client.notify(`${room}.message`, message)
  keep(message)
  content.value = ''
  content.focus()
})
join()

async function join () {
  show('waiting', 'connecting')
  again.hidden = true
  let opened
  let forget
  try {
    opened = await connect(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/`, { inflate })
    opened.on('onMembers', ({ members }) => listMembers(members))
    opened.on('onNewUser', ({ content }) => { addLine(undefined, content); addMember(content.replace(/^New user: /, '')) })
    opened.on('onMessage', ({ name, content }) => { settle(name, content); addLine(name, content) })
    forget = opened.onClose(onClose)
    await opened.request(`${room}.join`, {})
    if (opened.closed !== undefined) return
    client = opened
    retryMs = FIRST_RETRY_MS
    send.disabled = false
    show('open', 'connected')
  } catch (error) {
    // A connection that closed has been dealt with by onClose.
    if (opened?.closed !== undefined) return
    forget?.()
    opened?.close()
    retry(error.message)
  }
}

function onClose ({ code, reason }) {
  client = undefined
  send.disabled = true
  for (const message of inHand) doubt(message)
  if (code < FINAL_CODES) { retry(reason || 'connection lost'); return }
  const text = code === KICKED && reason !== 'kicked' ? `kicked: ${reason}` : reason
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

/** Later and later, and not in step with all the others. */
function retry (reason) {
  show('closed', `${reason}; trying again`)
  setTimeout(join, retryMs * (0.5 + Math.random()))
  retryMs = Math.min(2 * retryMs, LAST_RETRY_MS)
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
