import fc from 'fast-check'
import t from 'tap'
import { fromToken, groupKeys, Subjects, token } from '../../../lib/cluster/names.ts'
import { assertUid } from '../../../lib/session/uid.ts'

/** What a subject and a key of the store may consist of, without a wildcard. */
const PLAIN = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/
const HOSTILE = ['.', '*', '>', '/', ' ', '\t', 'a.b', 'a.*', '$SYS.>', '../..', '__proto__', 'é', 'e\u0301', '😀', 'x'.repeat(128), '-', '_']
const uid = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 32 }).filter((text) => {
  try { assertUid(text); return true } catch { return false }
})

t.test('whatever a uid or a group is called, it is one plain token, and no other name has the same', async (t) => {
  const subjects = new Subjects('pitaya')
  const seen = new Map<string, string>()
  const check = (name: string): void => {
    const subject = subjects.group(name)
    if (!PLAIN.test(subject) || subject.split('.').length !== 3) throw new Error(`${JSON.stringify(name)} becomes ${subject}`)
    if (fromToken(token(name)) !== name) throw new Error(`${JSON.stringify(name)} comes back as something else`)
    const other = seen.get(subject)
    if (other !== undefined && other !== name) throw new Error(`${JSON.stringify(name)} and ${JSON.stringify(other)} share ${subject}`)
    seen.set(subject, name)
  }
  HOSTILE.forEach(check)
  fc.assert(fc.property(uid, check), { numRuns: 20_000 })
  t.ok(seen.size > 1000, `${seen.size} names`)
})

t.test('keys of memberships are read as they were made', async (t) => {
  fc.assert(fc.property(uid, uid, (group, uid) => {
    const key = groupKeys.member(group, uid, 'front-1')
    const read = groupKeys.readMember(key)
    return PLAIN.test(key) && read.group === group && read.uid === uid && read.frontendId === 'front-1'
  }), { numRuns: 5000 })
  t.equal(groupKeys.readCreated(groupKeys.created('a.b')), 'a.b')
})

t.test('every subject begins with the prefix, so clusters that share a carrier do not meet', async (t) => {
  const subjects = new Subjects('blue')
  t.strictSame([subjects.rpc('a'), subjects.push('a'), subjects.event('bound'), subjects.inbox('a', 'life')], [
    'blue.rpc.a', 'blue.push.a', 'blue.event.bound', 'blue.inbox.a.life'
  ])
})
