# METADATA
# description: |
#   Questions about the input that more than one place asks, or that are longer than a line. They are functions: what a
#   rule says is kept in a table while a decision is made, and that costs more than most of them.
package deputy.lib

import future.keywords.not

# Iteration and "in" work on objects too, so every list must be a list before anything is read from it.
supported(document) if {
	document.version == 1
	user := document.user
	is_string(user.id)
	is_array(user.groups)
	is_array(user.roles)
	is_array(user.entitlements)
	is_string(document.agent.id)
	is_array(document.provider.granted_scopes)
	is_array(object.get(document.provider, "lineage", []))
	is_array(document.request.segments)
	is_array(document.operation.required_scopes)
	is_array(document.approvals)
}

# Several bodies of one rule are all evaluated, also where the first already holds: "else" spares the rest.

# --- which operation -----------------------------------------------------------------------------

operation_known(operation) if {
	operation.kind != "deputy"
	is_string(operation.id)
	operation.id != "unknown"
} else if {
	operation.kind == "deputy"
	operation.id in ["deputy.connect", "deputy.run", "deputy.standing"]
}

# Downloads go without a credential, and deputy's own operations reach no provider.
needs_no_account("asset")

needs_no_account("deputy")

# --- where to ------------------------------------------------------------------------------------

host_ok(operation, request) if {
	not needs_no_account(operation.kind)
	host_served(data.deputy_data.providers[input.provider.id], request.host)
} else if {
	operation.kind == "asset"
	operation.access == "read"
	request.host in data.deputy_data.providers[input.provider.id].assets
} else if {
	operation.kind == "deputy"
}

host_served(provider, host) if {
	host in provider.hosts
} else if {
	# What people host themselves has the hosts that the configuration gives it; name them here to narrow that.
	"*" in provider.hosts
} else if {
	# Where every customer has a host of its own: deputy itself sends to none but the person's.
	some suffix in provider.host_suffixes
	endswith(host, suffix)
}

# --- method --------------------------------------------------------------------------------------

# The method is upper case (deputy refuses others); whatever is not a plain read changes something.
reads("GET")

reads("HEAD")

# --- body ----------------------------------------------------------------------------------------

body_ok(operation, state) if {
	state in ["none", "parsed"]
} else if {
	state == "unparsed"
	not must_inspect(operation)
} else if {
	# These two say that somebody wanted to read the body: only a plain "no, not this operation" helps.
	state in ["too_large", "truncated"]
	operation.inspects == false
	not must_inspect(operation)
}

must_inspect(operation) if operation.inspects == true

must_inspect(operation) if operation.kind in ["graphql", "mcp"]

must_inspect(operation) if operation.access in data.deputy_data.providers[input.provider.id].inspect_body

must_inspect(operation) if {
	some ancestor in input.provider.lineage
	operation.access in data.deputy_data.providers[ancestor].inspect_body
}

# A body that was read, and says one of these at this place.
says(pointer, values) if {
	input.request.body.state == "parsed"
	input.request.body.json[pointer] in values
}

# A body that was read, and has nothing at this place; no body has nothing either.
says_nothing(pointer) if {
	input.request.body.state in ["none", "parsed"]
	not pointer in object.keys(object.get(input.request.body, "json", {}))
}

# --- what the tables leave to agents ---------------------------------------------------------------

# What a guard refuses unless the table guards says true for this very provider.
guard_lifted(name) if data.deputy_data.guards[input.provider.id][name] == true

# --- a call inside the call ----------------------------------------------------------------------

# One root field that was read, and no mutation that calls itself a read.
graphql_ok(operation) if {
	operation.graphql.type == "query"
	one_field(operation.graphql.fields)
}

graphql_ok(operation) if {
	operation.graphql.type == "mutation"
	operation.access in ["write", "delete", "admin"]
	one_field(operation.graphql.fields)
}

one_field([field]) if is_string(field)

# What the tables hide at this provider, and at those that its definition extends.
hidden contains name if some name in data.deputy_data.providers[input.provider.id].hidden

hidden contains name if {
	some ancestor in input.provider.lineage
	some name in data.deputy_data.providers[ancestor].hidden
}

# A document of which nobody said what it selects may select anything.
selects(graphql, name) if {
	name in graphql.selects
} else if {
	name in graphql.types
} else if {
	not is_array(graphql.selects)
} else if {
	not is_array(graphql.types)
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

# What an authorization service said of this very call, by the name of the check.
confirmed(name) if input.user.checks[name] == true

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

segment_match(want, segment) if {
	want == "*"
} else if {
	want == segment
} else if {
	# What stands for two segments to some servers is not within one.
	not contains(segment, "/")
	glob(want, segment)
}

# METADATA
# description: |
#   One or two stars, each for any characters or none; what stands between two is not empty. Without an expression that
#   could be asked twice, so it costs the length of the text.
glob(pattern, text) if pieces_fit(split(pattern, "*"), text)

pieces_fit(pieces, text) if {
	[head, tail] := pieces
	startswith(text, head)
	endswith(trim_prefix(text, head), tail)
} else if {
	[head, inner, tail] := pieces
	inner != ""
	startswith(text, head)
	rest := trim_prefix(text, head)
	endswith(rest, tail)
	contains(trim_suffix(rest, tail), inner)
} else if {
	pieces == [text]
}

# --- operations by name and family -----------------------------------------------------------------

# A row names operation a.b.c as "*", a.b.c, a.* or a.b.*; "else" spares the later questions.
operation_ok(names, id) if {
	"*" in names
} else if {
	id in names
} else if {
	some family in families(id)
	family in names
}

families(id) := {concat("", [concat(".", array.slice(parts, 0, i)), ".*"]) |
	parts := split(id, ".")
	some i in numbers.range(1, count(parts) - 1)
}
