// The child process of fuzz.test.ts.
import { createAvroSerializer } from '../../../lib/serializers/avro.ts'
import { fuzz } from '../../helpers/fuzz.ts'
import { serializerFuzz } from './fuzz-target.ts'

process.stdout.write(JSON.stringify(await fuzz(serializerFuzz(createAvroSerializer()))))
