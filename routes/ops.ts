import { type FastifyPluginAsync } from 'fastify'

const ops: FastifyPluginAsync = async () => {}
export default ops
