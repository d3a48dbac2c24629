# METADATA
# description: |
#   Who may do what, by tables: group -> roles -> rows. No person and no team is named here. Only
#   rows of the caller's own roles are ever looked at, found through an index that deputy makes when
#   it loads the tables, and rows are kept by id, because putting a whole row into a set costs more.
package deputy.grants

import future.keywords.not

import data.deputy.conditions
import data.deputy.lib

roles contains role if some role in input.user.roles

roles contains role if {
	some group in input.user.groups
	some role in data.deputy_data.group_roles[group]
}

# Rows by id, those of the caller's roles at this provider that cover the call.
matching[id] := row if {
	operation := input.operation
	operation.kind != "deputy"
	rows := data.deputy_data.grants[input.provider.id]
	some role in roles
	some id in candidates(role, operation.id)
	row := rows[id]
	covers(row, operation)
}

# Rows that may cover the call; "covers" decides. A role of few rows has no index: all of them are compared.
candidates(role, operation) := [id |
	some name in names(operation)
	by_agent := by_name[name]
	some agent in ["*", input.agent.id]
	by_entitlement := by_agent[agent]
	some entitlement in array.concat(["*"], input.user.entitlements)
	some shape in by_entitlement[entitlement]

	# What the paths of these rows say is the same at the same places; a call that is shorter finds nothing.
	some id in shape.rows[concat("/", array.concat(
		[input.request.segments[i] | some i in shape.at],
		[substring(input.request.segments[head[0]], 0, head[1]) | some head in shape.heads],
	))]
] if {
	by_name := data.deputy_data.grant_index[input.provider.id][role]
} else := data.deputy_data.role_grants[input.provider.id][role]

ids contains id if some id, _ in matching

# Whoever has a row at the provider may connect an account there.
ids contains $"role:{role}" if {
	input.operation.kind == "deputy"
	input.operation.id == "deputy.connect"
	some role in roles
	count(data.deputy_data.role_grants[input.provider.id][role]) > 0
}

# A run acts while its person is away: only people with this role get one.
ids contains "role:operator-run" if {
	input.operation.kind == "deputy"
	input.operation.id == "deputy.run"
	"operator-run" in roles
}

# A workload acts while its person is away as far as a row of one of their roles goes, and no longer: without a row, not at all.
ids contains $"role:{role}" if {
	input.operation.kind == "deputy"
	input.operation.id == "deputy.standing"
	some role in roles
	row := data.deputy_data.standing[role]
	lib.at_most(input.user.standing.days, row.max_days)
	agent_ok(row.agents)
	is_array(input.user.standing.operations)
	count(input.user.standing.operations) > 0
	every operation in input.user.standing.operations {
		lib.operation_ok(row.operations, operation)
	}
}

# Every key of a row is read here, so that a row with a key left out or misspelt matches nothing.
covers(row, operation) if {
	operation.kind in row.kinds
	operation.access in row.access
	lib.operation_ok(row.operations, operation.id)
	lib.path_match(row.path, input.request.segments)
	agent_ok(row.agents)
	entitled(row.entitlement)
	is_array(row.scopes)
	is_number(row.max_entitlement_age_s)
	is_object(row.obligations)
	is_object(row.step_up)
	is_object(row.approval)
	is_array(row.checks)
	conditions.hold(row)
}

names(id) := array.concat(["*", id], [family | some family in lib.families(id)])

agent_ok(agents) if {
	"*" in agents
} else if {
	input.agent.id in agents
} else if {
	# Of this workload only: whose own token or certificate the call came with.
	some id in ["*", input.agent.id]
	{"id": id, "workload": input.agent.workload.name} in agents
}

entitled(name) if {
	name == "*"
} else if {
	name in input.user.entitlements
}
