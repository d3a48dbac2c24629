# METADATA
# title: The decision on one call
# description: |
#   deputy evaluates data.deputy.decision once for every call that is about to leave. A call is
#   allowed when at least one row of the grants table covers it and nothing refuses it: any
#   refusal wins over every row. All fields are always there, and every set leaves sorted.
# scope: subpackages
# schemas:
#   - input: schema.input
#   - data.deputy_data: schema.tables
package deputy

import future.keywords.not

import data.deputy.agents
import data.deputy.conditions
import data.deputy.grants
import data.deputy.lib

# METADATA
# title: Decision document, version 1
# entrypoint: true
decision := {
	"version": 1,
	"allow": allow,
	"reasons": sort(deny),
	"required_scopes": sort(required_scopes),
	"obligations": obligations,
	"max_entitlement_age_s": max_entitlement_age_s,
	"grants": sort(grants.ids),
}

default allow := false

allow if count(deny) == 0

# --- refusals: a field that is missing or of another type must make these fire -------------------

deny contains {"code": "no_grant", "msg": "no grant covers this person, agent and operation"} if count(grants.ids) == 0

deny contains {"code": "input_unsupported", "msg": "the input is not a version 1 document"} if not lib.supported(input)

deny contains {"code": "user_inactive", "msg": "the identity provider does not list this person as active"} if {
	not input.user.active == true
}

deny contains {"code": "operation_unknown", "msg": "the catalogue has no such operation"} if {
	not lib.operation_known(input.operation)
}

deny contains {"code": "host_mismatch", "msg": "the host does not belong to the provider"} if not lib.host_ok(input.operation, input.request)

deny contains {"code": "body_opaque", "msg": "the body had to be inspected and could not be"} if {
	not lib.body_ok(input.operation, input.request.body.state)
}

deny contains {"code": "graphql_unread", "msg": "the document was not read, or is not what it is called"} if {
	input.operation.kind == "graphql"
	not lib.graphql_ok(input.operation)
}

deny contains {"code": "graphql_hidden", "msg": $"the selection names what no agent reads here: {name}"} if {
	input.operation.kind == "graphql"
	some name in lib.hidden
	lib.selects(input.operation.graphql, name)
}

deny contains {"code": "entitlements_stale", "msg": "what the identity provider said is too old"} if {
	not lib.at_most(input.user.entitlements_age_ms, max_entitlement_age_s * 1000)
}

deny contains {"code": "connection_missing", "msg": "the person has not connected the account"} if {
	not input.provider.connected == true
	not lib.needs_no_account(input.operation.kind)
}

deny contains {"code": "scope_missing", "msg": $"not granted by the person: {concat(", ", sort(missing_scopes))}"} if {
	count(missing_scopes) > 0
	input.provider.connected == true
	not lib.needs_no_account(input.operation.kind)
}

deny contains {"code": "step_up_required", "msg": "a stronger or fresher sign-in is needed"} if {
	some row in grants.matching
	some need in row.step_up
	not lib.stepped_up(need)
}

deny contains {"code": "approval_required", "msg": "a person must approve this very call"} if {
	some row in grants.matching
	some name, _ in row.approval
	not lib.approved(name)
}

# Not asked about this call, or asked and not confirmed: only a plain yes will do.
deny contains {"code": "check_refused", "msg": $"the authorization service does not confirm it: {name}"} if {
	some row in grants.matching
	some name in row.checks
	not lib.confirmed(name)
}

# Deny wins over every row, so that a second row cannot make more calls of what one row counts.
deny contains {"code": "history_limit", "msg": "too many such calls went before, or deputy does not know how many"} if {
	some row in grants.matching
	not conditions.earlier_ok(row.history)
}

deny contains {"code": "agent_ceiling", "msg": "this agent may never do this, whoever it acts for"} if {
	data.deputy_data.agents
	not agents.within(input.operation)
}

deny contains {"code": "obligation_conflict", "msg": $"rows that cover this call do not say the same of {name}"} if {
	count(grants.ids) > 1
	some row in grants.matching
	some kind in demands
	some name, value in row[kind]
	not agreed(name, kind, value)
}

demands := ["obligations", "step_up", "approval"]

# Whatever else the rows say by this name, they say the same.
agreed(name, kind, value) if {
	every row in grants.matching {
		every other in demands {
			same(object.get(row[other], name, null), [kind, other], value)
		}
	}
}

same(said, kinds, value) if {
	said == null
} else if {
	kinds[0] == kinds[1]
	said == value
}

# Some recipients may stand where nobody could read them: then the mail goes outside, for all that is known.
deny contains {"code": "recipient_outside", "msg": "the mail goes to somebody outside the domains that the tables list"} if {
	lib.mail_leaves(input.request)
	lib.domains_listed
	not lib.mail_inside(input.request.mail)
}

# A package per provider may add refusals; nothing here has to know of them.
deny contains reason if some reason in data.deputy.providers[input.provider.id].deny

# A definition that extends another reaches what that one reaches: what its ancestors refuse, it refuses.
deny contains reason if {
	some ancestor in input.provider.lineage
	ancestor != input.provider.id
	some reason in data.deputy.providers[ancestor].deny
}

# --- what the call needs -------------------------------------------------------------------------

required_scopes contains scope if some scope in input.operation.required_scopes

required_scopes contains scope if {
	some row in grants.matching
	some scope in row.scopes
}

# Sets, so that comparing costs the sum of both lists and not their product.
missing_scopes := required_scopes - {scope | some scope in input.provider.granted_scopes}

default max_entitlement_age_s := 300

# Of several rows the strictest counts.
max_entitlement_age_s := min([row.max_entitlement_age_s | some row in grants.matching])

# --- what deputy must do with an allow, and what would lift a refusal ----------------------------

obligations[name] := obligation if {
	allow
	some row in grants.matching
	some name, obligation in row.obligations
}

obligations[name] := {"type": "step-up", "properties": need} if {
	some row in grants.matching
	some name, need in row.step_up
	not lib.stepped_up(need)
	agreed(name, "step_up", need)
}

obligations[name] := {"type": "approval", "properties": need} if {
	some row in grants.matching
	some name, need in row.approval
	not lib.approved(name)
	agreed(name, "approval", need)
}
