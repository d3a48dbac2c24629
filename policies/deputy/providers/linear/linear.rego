# METADATA
# description: |
#   Linear is one GraphQL endpoint. The catalogue knows its root fields, and each field of a call is
#   decided as a call of its own. What no agent does there, whatever the tables say, asks the field
#   and not the catalogue.
package deputy.providers.linear

import future.keywords.not

import data.deputy.lib

deny contains {"code": "linear_graphql", "msg": "the call was not read as GraphQL"} if {
	not input.operation.kind == "deputy"
	not input.operation.kind == "graphql"
}

deny contains {"code": "linear_protected", "msg": "agents do not change who has access, nor where data goes"} if {
	input.operation.graphql.type == "mutation"
	some field in input.operation.graphql.fields
	some family in protected
	startswith(lower(field), family)
}

deny contains {"code": "linear_share", "msg": "agents do not share issues or documents"} if {
	input.operation.graphql.type == "mutation"
	some field in input.operation.graphql.fields
	lower(field) in ["documentshare", "issueshare"]
	not lib.guard_lifted("share")
}

protected := [
	"apikey", "emailintake", "emailtoken", "emailuser", "googleuser", "integration", "logout", "oauth",
	"organization", "passkey", "resendorganization", "saml", "team", "user", "webhook",
]
