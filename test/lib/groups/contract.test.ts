import t from 'tap'
import { testGroups } from '../../contracts/groups.ts'
import { createCore } from '../../helpers/core.ts'
import { chat, GroupCluster, memoryCarrier, openCluster } from '../../helpers/groups.ts'

testGroups(t, 'memory', async (t, options) => {
  const { groups, connect, sessions, skip } = createCore([chat], options)
  t.teardown(() => groups.close())
  return {
    groups,
    skip,
    connect: async (uid) => {
      const { session, client } = connect()
      await session.bind(uid)
      return { client }
    },
    afterBind: (hook) => sessions.afterBind(async (_, uid) => { await hook(uid) })
  }
})

testGroups(t, 'cluster, on the member\'s frontend', async (t, options) => {
  const cluster = new GroupCluster(t, memoryCarrier())
  await cluster.add('back')
  const front = await cluster.add('front', options)
  return openCluster(cluster, front, [front])
})

testGroups(t, 'cluster, from a backend', async (t, options) => {
  const cluster = new GroupCluster(t, memoryCarrier())
  const back = await cluster.add('back', options)
  return openCluster(cluster, back, [await cluster.add('front-1', options), await cluster.add('front-2', options)])
})
