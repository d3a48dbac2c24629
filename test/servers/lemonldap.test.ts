// LemonLDAP::NG keeps its refresh tokens, and calls the token of a grant that has ended an invalid request.
import { lemonldap } from '../support/servers/lemonldap.ts'
import { claims } from './claims.ts'

claims(lemonldap, { status: 400, error: 'invalid_request' }, false)
