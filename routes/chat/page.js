/* global document, localStorage, location */
import { connect } from './modules/client/client.js'
import { inflate } from './modules/client/inflate.js'

const MAX_LINES = 500
const FIRST_RETRY_MS = 500
const LAST_RETRY_MS = 15_000
/** From here on a close code means: do not come back by yourself. */
const FINAL_CODES = 4500
const KICKED = 4504

const [state, again, messages, members, form, name, content, send] =
  ['state', 'again', 'messages', 'members', 'compose', 'name', 'content', 'send'].map((id) => document.getElementById(id))
let client
let retryMs = FIRST_RETRY_MS

name.value = remembered() ?? `guest-${Math.floor(1000 + Math.random() * 9000)}`
name.addEventListener('change', () => remember(name.value))
again.addEventListener('click', () => { retryMs = FIRST_RETRY_MS; join(); content.focus() })
form.addEventListener('submit', (event) => {
  event.preventDefault()
  const text = content.value.trim()
  if (client === undefined || text === '' || name.value.trim() === '') return
  client.notify('room.message', { name: name.value.trim(), content: text })
  content.value = ''
  content.focus()
})
join()

async function join () {
  show('waiting', 'connecting')
  again.hidden = true
  try {
    const opened = await connect(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/`, { inflate })
    opened.on('onMembers', ({ members }) => listMembers(members))
    opened.on('onNewUser', ({ content }) => { addLine(undefined, content); addMember(content.replace(/^New user: /, '')) })
    opened.on('onMessage', ({ name, content }) => addLine(name, content))
    opened.onClose(onClose)
    await opened.request('room.join', {})
    if (opened.closed !== undefined) return
    client = opened
    retryMs = FIRST_RETRY_MS
    send.disabled = false
    show('open', 'connected')
  } catch (error) {
    // A connection that opened and closed again has been dealt with by onClose.
    if (client === undefined && state.dataset.state === 'waiting') retry(error.message)
  }
}

function onClose ({ code, reason }) {
  client = undefined
  send.disabled = true
  if (code < FINAL_CODES) { retry(reason || 'connection lost'); return }
  const text = code === KICKED && reason !== 'kicked' ? `kicked: ${reason}` : reason
  show('closed', text)
  addLine(undefined, text)
  again.hidden = false
  again.focus()
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

/** One message, or without a name a notice. Everything that came from others is text, never markup. */
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
  messages.append(element('li', time, line))
  if (messages.childElementCount > MAX_LINES) messages.firstElementChild.remove()
  if (isAtEnd) messages.scrollTop = messages.scrollHeight
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
