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

import data.deputy.grants
import data.deputy.lib

# METADATA
# title: Decision document, version 1
# entrypoint: true
decision := {
	"version": 1,
	"allow": allow,
	"reasons": sort(reasons),
	"required_scopes": sort(required_scopes),
	"obligations": obligations,
	"max_entitlement_age_s": max_entitlement_age_s,
	"grants": sort(grants.ids),
}

default allow := false

allow if {
	grants.matched
	count(deny) == 0
}

reasons contains reason if some reason in deny

reasons contains {"code": "no_grant", "msg": "no grant covers this person, agent and operation"} if {
	not grants.matched
}

# --- refusals: a field that is missing or of another type must make these fire -------------------

deny contains {"code": "input_unsupported", "msg": "the input is not a version 1 document"} if {
	not lib.supported
}

deny contains {"code": "user_inactive", "msg": "the identity provider does not list this person as active"} if {
	not input.user.active == true
}

deny contains {"code": "operation_unknown", "msg": "the catalogue has no such operation"} if not lib.operation_known

deny contains {"code": "host_mismatch", "msg": "the host does not belong to the provider"} if not lib.host_ok

deny contains {"code": "body_opaque", "msg": "the body had to be inspected and could not be"} if not lib.body_ok

deny contains {"code": "graphql_unread", "msg": "the document was not read, or is not what it is called"} if {
	input.operation.kind == "graphql"
	not lib.graphql_ok
}

deny contains {"code": "entitlements_stale", "msg": "what the identity provider said is too old"} if {
	not lib.at_most(input.user.entitlements_age_ms, max_entitlement_age_s * 1000)
}

deny contains {"code": "connection_missing", "msg": "the person has not connected the account"} if {
	not lib.needs_no_account
	not lib.connected
}

deny contains {"code": "scope_missing", "msg": $"not granted by the person: {concat(", ", sort(missing_scopes))}"} if {
	not lib.needs_no_account
	lib.connected
	count(missing_scopes) > 0
}

deny contains {"code": "step_up_required", "msg": "a stronger or fresher sign-in is needed"} if {
	some need in grants.step_up
	not lib.stepped_up(need)
}

deny contains {"code": "approval_required", "msg": "a person must approve this very call"} if {
	some name, _ in grants.approval
	not lib.approved(name)
}

# A package per provider may add refusals; nothing here has to know of them.
deny contains reason if some reason in data.deputy.providers[input.provider.id].deny

# --- what the call needs -------------------------------------------------------------------------

required_scopes contains scope if some scope in input.operation.required_scopes

required_scopes contains scope if some scope in grants.scopes

missing_scopes := required_scopes - lib.granted_scopes

default max_entitlement_age_s := 300

# Of several rows the strictest counts.
max_entitlement_age_s := min(grants.max_ages) if count(grants.max_ages) > 0

# --- what deputy must do with an allow, and what would lift a refusal ----------------------------

obligations[name] := obligation if {
	allow
	some name, obligation in grants.obligations
}

obligations[name] := {"type": "step-up", "properties": need} if {
	some name, need in grants.step_up
	not lib.stepped_up(need)
}

obligations[name] := {"type": "approval", "properties": need} if {
	some name, need in grants.approval
	not lib.approved(name)
}
