# METADATA
# description: |
#   What an agent may ever do, whoever it acts for: the table agents. It grants nothing; it narrows what the person's rows
#   grant. Where the table is there, an agent without rows, and without a row for "*", may do nothing.
package deputy.agents

import data.deputy.lib

# METADATA
# description: Does one row of this agent reach the operation?
within(operation) if {
	some ceiling in rows
	"*" in ceiling.connections
	reaches(ceiling, operation)
} else if {
	some ceiling in rows
	input.provider.connection in ceiling.connections
	reaches(ceiling, operation)
}

# Its own rows stand in place of those for all.
rows := own if {
	own := data.deputy_data.agents[input.agent.id]
} else := data.deputy_data.agents["*"]

# Which operations follow a connect, a run or a standing permission, each call decides anew.
reaches(ceiling, operation) if {
	operation.access in ceiling.access
	lib.operation_ok(ceiling.operations, operation.id)
} else if {
	operation.kind == "deputy"
	is_array(ceiling.operations)
}
