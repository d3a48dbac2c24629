# METADATA
# description: Questions about the input that more than one package asks.
package deputy.lib

import future.keywords.not

# Iteration and "in" work on objects too, so every list must be a list before anything is read from it.
supported if {
	input.version == 1
	user := input.user
	is_string(user.id)
	is_array(user.groups)
	is_array(user.roles)
	is_array(user.entitlements)
	is_string(input.agent.id)
	is_array(input.provider.granted_scopes)
	is_array(input.request.segments)
	is_array(input.operation.required_scopes)
	is_array(input.approvals)
}

# Several bodies of one rule are all evaluated, also where the first already holds: "else" spares the rest.

# --- which operation -----------------------------------------------------------------------------

default own_operation := false

own_operation if input.operation.kind == "deputy"

default asset := false

asset if input.operation.kind == "asset"

operation_known if {
	not own_operation
	is_string(input.operation.id)
	input.operation.id != "unknown"
} else if {
	own_operation
	input.operation.id in ["deputy.connect", "deputy.run"]
}

# Downloads go without a credential, and deputy's own operations reach no provider.
default needs_no_account := false

needs_no_account if {
	asset
} else if {
	own_operation
}

# --- where to ------------------------------------------------------------------------------------

provider := data.deputy_data.providers[input.provider.id]

host_ok if {
	not needs_no_account
	host_served
} else if {
	asset
	input.operation.access == "read"
	input.request.host in provider.assets
} else if {
	own_operation
}

host_served if {
	input.request.host in provider.hosts
} else if {
	# What people host themselves has the hosts that the configuration gives it; name them here to narrow that.
	"*" in provider.hosts
} else if {
	# Where every customer has a host of its own: deputy itself sends to none but the person's.
	some suffix in provider.host_suffixes
	endswith(input.request.host, suffix)
}

# --- account and scopes --------------------------------------------------------------------------

connected if input.provider.connected == true

# A set, so that comparing costs the sum of both lists and not their product.
granted_scopes contains scope if some scope in input.provider.granted_scopes

# --- body ----------------------------------------------------------------------------------------

body_ok if {
	input.request.body.state == "none"
} else if {
	input.request.body.state == "parsed"
} else if {
	input.request.body.state == "unparsed"
	not must_inspect
} else if {
	# These two say that somebody wanted to read the body: only a plain "no, not this operation" helps.
	input.request.body.state in ["too_large", "truncated"]
	input.operation.inspects == false
	not must_inspect
}

must_inspect if input.operation.inspects == true

must_inspect if input.operation.kind in ["graphql", "mcp"]

must_inspect if input.operation.access in provider.inspect_body

# --- a call inside the call ----------------------------------------------------------------------

# One root field that was read, and no mutation that calls itself a read.
graphql_ok if {
	input.operation.graphql.type == "query"
	graphql_field
}

graphql_ok if {
	input.operation.graphql.type == "mutation"
	input.operation.access in ["write", "delete", "admin"]
	graphql_field
}

graphql_field if {
	[field] := input.operation.graphql.fields
	is_string(field)
}

# --- people --------------------------------------------------------------------------------------

# Values of different types have an order in Rego (null < 1 < "1"), so the type is asked first.
at_most(value, limit) if {
	is_number(value)
	value >= 0
	value <= limit
}

stepped_up(need) if {
	input.user.auth.acr in need.acr_values
	at_most(input.user.auth.age_s, need.max_auth_age_s)
}

# deputy lists only approvals that it verified and that were given to this very call.
approved(name) if {
	some approval in input.approvals
	approval.name == name
	is_number(approval.expires_in_s)
	approval.expires_in_s > 0
}

# --- patterns ------------------------------------------------------------------------------------

# "*" stands for one segment, a last "**" for any rest, also none.
path_match(pattern, segments) if {
	pattern == ["**"]
} else if {
	last := count(pattern) - 1
	pattern[last] != "**"
	count(segments) == last + 1
	every i, want in pattern {
		segment_match(want, segments[i])
	}
} else if {
	last := count(pattern) - 1
	last > 0
	pattern[last] == "**"
	count(segments) >= last
	every i, want in array.slice(pattern, 0, last) {
		segment_match(want, segments[i])
	}
}

segment_match("*", _)

segment_match(want, want)
