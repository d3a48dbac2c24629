// Spring Authorization Server rotates, and refuses a spent token without ending what came of it.
import { spring } from '../support/servers/spring.ts'
import { claims } from './claims.ts'

claims(spring, { status: 400, error: 'invalid_grant' })
