import { type FastifyPluginAsync } from 'fastify'

const admin: FastifyPluginAsync<{ token?: string, auth?: unknown }> = async () => {}
export default admin
