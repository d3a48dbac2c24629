# METADATA
# description: |
#   Linear is one GraphQL endpoint, and the catalogue sees one operation. Until calls inside the call
#   are told apart, only documents pass that can be no mutation: its keyword cannot be written in
#   another way, so a text without the word has none.
package deputy.providers.linear

import future.keywords.not

import data.deputy.lib

deny contains {"code": "linear_write", "msg": "only GraphQL queries pass, without the word mutation or subscription"} if {
	not lib.own_operation
	not reads
}

reads if {
	count(input.request.query) == 0
	document := input.request.body.json["/query"]
	is_string(document)
	not contains(document, "mutation")
	not contains(document, "subscription")
}
