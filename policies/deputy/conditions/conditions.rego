# METADATA
# description: |
#   What a row may ask for beside who, what and where: the hour, arguments, the size of the body, whom a mail goes to, and
#   what went before. They are functions, and each asks first whether the row says anything, so that a row which does not
#   costs next to nothing. A condition of another shape holds for no call.
package deputy.conditions

import future.keywords.not

import data.deputy.lib

# METADATA
# description: Does the call meet all conditions of the row? `history` is no condition but a demand.
hold(row) if {
	row.when == []
	row.arguments == []
	row.max_body_bytes == null
	row.mail == {}
	row.history == []
} else if {
	in_time(row.when)
	arguments_ok(row.arguments)
	size_ok(row.max_body_bytes)
	mail_ok(row.mail)
	is_array(row.history)
}

# --- when ------------------------------------------------------------------------------------------

in_time(windows) if {
	windows == []
} else if {
	is_array(windows)
	some window in windows
	inside(window, input.now.zones[window.zone])
}

# The days of a window are those on which it begins; one that ends before it begins goes over midnight.
inside(window, here) if {
	here.weekday in window.days
	minute_of(here) >= minutes(window.from)
	minute_of(here) < minutes(window.to)
} else if {
	minutes(window.from) > minutes(window.to)
	here.weekday in window.days
	minute_of(here) >= minutes(window.from)
} else if {
	minutes(window.from) > minutes(window.to)
	day_before[here.weekday] in window.days
	minute_of(here) < minutes(window.to)
}

minute_of(here) := (here.hour * 60) + here.minute

minutes(text) := (to_number(hour) * 60) + to_number(minute) if [hour, minute] := split(text, ":")

day_before := {
	"mon": "sun",
	"tue": "mon",
	"wed": "tue",
	"thu": "wed",
	"fri": "thu",
	"sat": "fri",
	"sun": "sat",
}

# --- arguments -------------------------------------------------------------------------------------

arguments_ok(wanted) if {
	wanted == []
} else if {
	# What to list is asked without arguments, and nothing leaves.
	input.asked == "list"
	is_array(wanted)
} else if {
	is_array(wanted)
	every one in wanted {
		argument_ok(one, argument(one.pointer))
	}
}

# Where the operation's kind puts its arguments; "?name" is the query's. Nothing is found in a body that was not read.
# Some servers take ?Top for ?top: where both are there nobody knows which counts.
argument(pointer) := input.request.query[name] if {
	startswith(pointer, "?")
	name := trim_prefix(pointer, "?")
	count([other | some other, _ in input.request.query; lower(other) == lower(name)]) == 1
} else := input.operation.graphql.arguments[pointer] if {
	input.operation.kind == "graphql"
} else := input.operation.mcp.arguments[pointer] if {
	input.operation.kind == "mcp"
} else := input.request.body.json[pointer] if {
	input.operation.kind == "rest"
	input.request.body.state == "parsed"
}

# Of a list every item must fit, and one without items says nothing that could.
argument_ok(one, value) if {
	count(one) == 2
	is_array(value)
	value != []
	every item in value {
		fits(one, item)
	}
} else if {
	count(one) == 2
	fits(one, value)
}

fits(one, item) if {
	item == one.equals
} else if {
	is_array(one.one_of)
	item in one.one_of
} else if {
	is_string(item)
	endswith(item, one.suffix)
} else if {
	is_number(one.at_most)
	lib.at_most(item, one.at_most)
} else if {
	is_string(item)
	lib.glob(one.matches_glob, item)
}

# --- the body and the mail -------------------------------------------------------------------------

# deputy says -1 where a body does not say how long it is: that is not at most anything.
size_ok(limit) if {
	limit == null
} else if {
	is_number(limit)
	lib.at_most(input.request.body.bytes, limit)
} else if {
	input.asked == "list"
	is_number(limit)
}

# Recipients that deputy cannot see, as in a stored draft, are nowhere.
mail_ok(wanted) if {
	wanted == {}
} else if {
	is_array(wanted.domains)
	input.request.mail.unread == false
	is_array(input.request.mail.domains)
	every domain in input.request.mail.domains {
		some entry in wanted.domains
		lib.domain_fits(entry, domain)
	}
} else if {
	input.asked == "list"
	is_array(wanted.domains)
}

# --- what went before ------------------------------------------------------------------------------

# METADATA
# description: |
#   Were there at most as many earlier calls as each of these rules says? Where deputy brings no history the answer is no.
#   Only what is surely too old is left out.
earlier_ok(rules) if {
	rules == []
} else if {
	every rule in rules {
		few_before(rule, input.history[rule.by])
	}
}

few_before(rule, entries) if {
	is_array(entries)
	is_number(rule.at_most)
	sum([entry.count |
		some entry in entries
		counts(rule, entry)
	]) <= rule.at_most
}

counts(rule, entry) if {
	concerns(rule, entry)
	not older(entry, rule.within_s)
}

concerns(rule, entry) if {
	rule.provider in ["*", entry.provider]
	lib.operation_ok(rule.operations, entry.operation)
}

older(entry, seconds) if {
	is_number(entry.last_s)
	is_number(seconds)
	entry.last_s > seconds
}
