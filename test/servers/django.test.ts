// django-oauth-toolkit rotates, kills a family whose spent token comes again, and revokes the access token before.
import { django } from '../support/servers/django.ts'
import { claims } from './claims.ts'

claims(django, { status: 400, error: 'invalid_grant' })
