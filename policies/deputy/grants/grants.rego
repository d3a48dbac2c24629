# METADATA
# description: |
#   Who may do what, by tables: group -> roles -> rows. No person and no team is named here. Only the
#   rows of the caller's own roles are ever looked at, and sets hold ids, because putting a whole
#   row into a set costs more than looking it up again.
package deputy.grants

import future.keywords.not

import data.deputy.lib

default matched := false

matched if count(ids) > 0

roles contains role if some role in input.user.roles

roles contains role if {
	some group in input.user.groups
	some role in data.deputy_data.group_roles[group]
}

rows := data.deputy_data.grants[input.provider.id]

role_rows := data.deputy_data.role_grants[input.provider.id]

ids contains id if {
	not lib.own_operation
	some role in roles
	some id in role_rows[role]
	covers(rows[id])
}

# Whoever has a row at the provider may connect an account there.
ids contains $"role:{role}" if {
	lib.own_operation
	input.operation.id == "deputy.connect"
	some role in roles
	count(role_rows[role]) > 0
}

# A run acts while its person is away: only people with this role get one.
ids contains "role:operator-run" if {
	lib.own_operation
	input.operation.id == "deputy.run"
	"operator-run" in roles
}

# Every key of a row is read here, so that a row with a key left out or misspelt matches nothing.
covers(row) if {
	operation := input.operation
	operation.kind in row.kinds
	operation.access in row.access
	operation_ok(row.operations)
	lib.path_match(row.path, input.request.segments)
	agent_ok(row.agents)
	entitled(row.entitlement)
	is_array(row.scopes)
	is_number(row.max_entitlement_age_s)
	is_object(row.obligations)
	is_object(row.step_up)
	is_object(row.approval)
}

# A row names operation a.b.c as "*", a.b.c, a.* or a.b.*; "else" spares the later questions.
operation_ok(names) if {
	"*" in names
} else if {
	input.operation.id in names
} else if {
	some family in families
	family in names
}

families contains concat("", [concat(".", array.slice(parts, 0, i)), ".*"]) if {
	parts := split(input.operation.id, ".")
	some i in numbers.range(1, count(parts) - 1)
}

agent_ok(agents) if {
	"*" in agents
} else if {
	input.agent.id in agents
}

entitled(name) if {
	name == "*"
} else if {
	name in input.user.entitlements
}

# --- what the matching rows ask for, together ----------------------------------------------------

matching := [rows[id] | some id in ids]

scopes contains scope if {
	some row in matching
	some scope in row.scopes
}

max_ages contains row.max_entitlement_age_s if some row in matching

obligations[name] := obligation if {
	some row in matching
	some name, obligation in row.obligations
}

step_up[name] := need if {
	some row in matching
	some name, need in row.step_up
}

approval[name] := need if {
	some row in matching
	some name, need in row.approval
}
