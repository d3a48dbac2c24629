package deputy_test

# What a row that asks for this gets.
row_asks(key, value, ops) := row_codes(object.union(wide, {key: value}), ops)

# --- when ------------------------------------------------------------------------------------------

clock(weekday, hour, minute) := [set_to("/now/zones", {"Europe/Berlin": {
	"weekday": weekday, "hour": hour, "minute": minute,
}})]

in_window(days, from, to, ops) := row_asks(
	"when", [{
		"zone": "Europe/Berlin", "days": days, "from": from, "to": to,
	}],
	ops,
)

test_a_window_of_a_day if {
	every hour in [9, 17] {
		in_window(["mon"], "09:00", "18:00", clock("mon", hour, 59)) == []
	}
	in_window(["mon"], "09:00", "18:00", clock("mon", 9, 0)) == []
	in_window(["mon"], "09:00", "18:00", clock("mon", 8, 59)) == ["no_grant"]
	in_window(["mon"], "09:00", "18:00", clock("mon", 18, 0)) == ["no_grant"]
	in_window(["mon"], "09:00", "18:00", clock("tue", 12, 0)) == ["no_grant"]
	in_window(["sun"], "00:00", "24:00", clock("sun", 23, 59)) == []
}

test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins if {
	in_window(["fri"], "22:00", "06:00", clock("fri", 22, 0)) == []
	in_window(["fri"], "22:00", "06:00", clock("sat", 5, 59)) == []
	in_window(["fri"], "22:00", "06:00", clock("sat", 6, 0)) == ["no_grant"]
	in_window(["fri"], "22:00", "06:00", clock("fri", 5, 59)) == ["no_grant"]
	in_window(["fri"], "22:00", "06:00", clock("sat", 22, 0)) == ["no_grant"]
	in_window(["sun"], "22:00", "06:00", clock("mon", 0, 0)) == []
}

test_every_day_has_a_day_before if {
	nights := [["sun", "mon"], ["mon", "tue"], ["tue", "wed"], ["wed", "thu"], ["thu", "fri"], ["fri", "sat"], ["sat", "sun"]]
	every night in nights {
		in_window([night[0]], "22:00", "06:00", clock(night[1], 5, 59)) == []
		in_window([night[1]], "22:00", "06:00", clock(night[1], 5, 59)) == ["no_grant"]
	}
}

test_any_one_window_suffices if {
	windows := [{"zone": "Europe/Berlin", "days": [day], "from": "09:00", "to": "10:00"} | some day in ["mon", "wed"]]
	row_asks("when", windows, clock("wed", 9, 30)) == []
	row_asks("when", windows, clock("tue", 9, 30)) == ["no_grant"]
}

test_a_zone_that_deputy_does_not_tell_is_never if {
	in_window(["mon"], "00:00", "24:00", []) == ["no_grant"]
	in_window(["mon"], "00:00", "24:00", [set_to("/now/zones", {"UTC": {"weekday": "mon", "hour": 1, "minute": 1}})]) == ["no_grant"]
	every odd in [{"a": 1}, "always", [1], [{}], [{"zone": "Europe/Berlin"}]] {
		row_asks("when", odd, clock("mon", 9, 0)) == ["no_grant"]
	}
}

# --- arguments -------------------------------------------------------------------------------------

body_says(value) := [set_to("/request/body", {"state": "parsed", "bytes": 9, "json": {"/to": value}})]

argument_is(comparison, ops) := row_asks("arguments", [object.union({"pointer": "/to"}, comparison)], ops)

test_a_parameter_of_the_query_is_named_by_its_mark_alone if {
	named := set_to("/request/query", {"/to": "a"})
	argument_is({"equals": "a"}, array.concat(body_says("b"), [named])) == ["no_grant"]
	argument_is({"equals": "b"}, array.concat(body_says("b"), [named])) == []
}

test_comparisons if {
	every fit in [
		[{"equals": "a"}, "a"], [{"equals": 7}, 7], [{"equals": true}, true],
		[{"one_of": ["a", 1]}, 1],
		[{"suffix": "@acme.com"}, "x@acme.com"],
		[{"at_most": 5}, 5], [{"at_most": 5}, 0],
		[{"matches_glob": "a*"}, "a"], [{"matches_glob": "a*c"}, "abc"], [{"matches_glob": "a*b*c"}, "a-b-c"],
		[{"matches_glob": "abc"}, "abc"], [{"matches_glob": "*b*"}, "abc"], [{"matches_glob": "*/c"}, "a/b/c"],
	] {
		argument_is(fit[0], body_says(fit[1])) == []
	}
	every odd in [
		[{"equals": "a"}, "A"], [{"equals": 7}, "7"], [{"equals": true}, "true"],
		[{"one_of": ["a", 1]}, "1"], [{"one_of": "abc"}, "a"], [{"one_of": {"k": "a"}}, "a"],
		[{"suffix": "@acme.com"}, "x@acme.com.evil"], [{"suffix": "1"}, 1],
		[{"at_most": 5}, 5.1], [{"at_most": 5}, -1], [{"at_most": 5}, "5"], [{"at_most": "5"}, 5], [{"at_most": 5}, null],
		[{"matches_glob": "a*c"}, "ac "], [{"matches_glob": "ab*ba"}, "aba"], [{"matches_glob": "a*b*c"}, "a-c"],
		[{"matches_glob": "ab*b*ba"}, "abba"], [{"matches_glob": "abc"}, "abcd"], [{"matches_glob": "a*"}, 7],
		[{"matches_glob": "**"}, "a"], [{"matches_glob": "a*b*c*d"}, "abcd"], [{"matches_glob": 7}, "7"],
		[{"equals": {"a": 1}}, null], [{"like": "a"}, "a"], [{}, "a"], [{"equals": "a", "suffix": "b"}, "a"],
	] {
		argument_is(odd[0], body_says(odd[1])) == ["no_grant"]
	}
}

test_of_a_list_every_item_must_fit if {
	argument_is({"suffix": "@acme.com"}, body_says(["a@acme.com", "b@acme.com"])) == []
	argument_is({"suffix": "@acme.com"}, body_says(["a@acme.com", "b@other.com"])) == ["no_grant"]
	argument_is({"equals": "a"}, body_says([])) == ["no_grant"]
	argument_is({"equals": "a"}, body_says([["a"]])) == ["no_grant"]
	argument_is({"equals": "a"}, body_says({"x": "a"})) == ["no_grant"]
	argument_is({"equals": "a", "suffix": "a"}, body_says(["a"])) == ["no_grant"]
}

test_what_was_not_read_fits_nothing if {
	argument_is({"equals": "a"}, []) == ["no_grant"]
	every state in ["unparsed", "too_large", "truncated"] {
		"no_grant" in argument_is({"equals": "a"}, array.concat(body_says("a"), [set_to("/request/body/state", state)]))
	}
	argument_is({"equals": "a"}, array.concat(body_says("a"), [set_to("/operation/kind", "asset")])) != []
	every odd in ["/to", {"pointer": "/to"}, [{"equals": "a"}], [[]]] {
		row_asks("arguments", odd, body_says("a")) == ["no_grant"]
	}
}

test_all_arguments_must_hold if {
	both := [{"pointer": "/to", "equals": "a"}, {"pointer": "?state", "one_of": ["open", "all"]}]
	row_asks("arguments", both, body_says("a")) == []
	row_asks("arguments", both, array.concat(body_says("a"), [set_to("/request/query/state", ["open", "closed"])])) == ["no_grant"]
	row_asks("arguments", both, array.concat(body_says("a"), [without("/request/query/state")])) == ["no_grant"]
	row_asks("arguments", both, body_says("b")) == ["no_grant"]

	# Twice, for a server that does not tell State from state.
	row_asks("arguments", both, array.concat(body_says("a"), [set_to("/request/query/State", ["closed"])])) == ["no_grant"]
	row_asks("arguments", both, array.concat(body_says("a"), [set_to("/request/query/page", ["2"])])) == []
}

test_arguments_of_other_kinds if {
	graphql := {"type": "query", "name": "", "fields": ["issue"], "depth": 1, "arguments": {"/to": "a"}}
	argument_is({"equals": "a"}, [set_to("/operation/kind", "graphql"), set_to("/operation/graphql", graphql)]) == []
	argument_is({"equals": "b"}, [set_to("/operation/kind", "graphql"), set_to("/operation/graphql", graphql)]) == ["no_grant"]
	mcp := {"method": "tools/call", "tool": "t", "arguments": {"/to": "a"}}
	argument_is({"equals": "a"}, [set_to("/operation/kind", "mcp"), set_to("/operation/mcp", mcp)]) == []

	# The body of such a call is an envelope: its members are not the arguments.
	argument_is({"equals": "a"}, array.concat(body_says("a"), [set_to("/operation/kind", "mcp")])) == ["no_grant"]
}

test_a_list_is_asked_for_without_arguments if {
	list := [set_to("/asked", "list")]
	argument_is({"equals": "a"}, list) == []
	row_asks("max_body_bytes", 0, array.concat(list, [set_to("/request/body/bytes", 1)])) == []
	row_asks("mail", {"domains": ["acme.com"]}, list) == []
	row_asks("arguments", "x", list) == ["no_grant"]
	row_asks("mail", {"domain": "acme.com"}, list) == ["no_grant"]
	row_asks("max_body_bytes", "1", list) == ["no_grant"]
}

# --- the body and the mail -------------------------------------------------------------------------

test_bodies_of_a_size if {
	body_row(10, 10) == []
	body_row(10, 0) == []
	body_row(10, 11) == ["no_grant"]

	# Nobody said how long it is.
	body_row(10, -1) == ["no_grant"]
	body_row("10", 1) == ["no_grant"]
}

body_row(limit, size) := row_asks("max_body_bytes", limit, [set_to("/request/body/bytes", size)])

mail_row(mail) := row_asks("mail", {"domains": ["acme.com", "acme.org"]}, [set_to("/request/mail", mail)])

test_mail_within_domains if {
	mail_row({"unread": false, "sends": true, "domains": ["acme.com"]}) == []
	mail_row({"unread": false, "sends": true, "domains": ["acme.com", "acme.org"]}) == []
	mail_row({"unread": false, "sends": true, "domains": ["acme.com", "evil.com"]}) == ["no_grant"]
	mail_row({"unread": true, "sends": true}) == ["no_grant"]
	mail_row({"unread": true, "sends": true, "domains": ["acme.com"]}) == ["no_grant"]
	mail_row({"sends": true, "domains": ["acme.com"]}) == ["no_grant"]
	mail_row({"unread": false, "sends": true, "domains": "acme.com"}) == ["no_grant"]
	row_asks("mail", {"domains": ["acme.com"]}, []) == ["no_grant"]

	# As the guard does: what is below acme.com, and not acme.com itself.
	below := {"domains": ["*.acme.com"]}
	row_asks("mail", below, [set_to("/request/mail", {"unread": false, "domains": ["eu.acme.com"]})]) == []
	row_asks("mail", below, [set_to("/request/mail", {"unread": false, "domains": ["acme.com"]})]) == ["no_grant"]
	every odd in [{"domain": ["acme.com"]}, {"domains": "acme.com"}, [], "acme.com"] {
		row_asks("mail", odd, [set_to("/request/mail", {"unread": false, "domains": ["acme.com"]})]) == ["no_grant"]
	}
}

# --- what went before ------------------------------------------------------------------------------

history_row(rule, history) := row_asks(
	"history", [object.union(
		{"by": "person", "provider": "github", "operations": ["issues.*"], "within_s": 60, "at_most": 2},
		rule,
	)],
	[set_to("/history", history)],
)

called_before(count, last_s) := {"person": [{"provider": "github", "operation": "issues.create", "count": count, "last_s": last_s}], "run": []}

test_so_many_earlier_calls if {
	history_row({}, called_before(2, 60)) == []
	history_row({}, called_before(3, 60)) == ["history_limit"]
	history_row({}, called_before(3, 61)) == []
	history_row({"operations": ["pulls.*"]}, called_before(3, 1)) == []
	history_row({"operations": ["pulls.*", "issues.create"]}, called_before(3, 1)) == ["history_limit"]
	history_row({"provider": "google"}, called_before(3, 1)) == []
	history_row({"provider": "*"}, called_before(3, 1)) == ["history_limit"]
	history_row({"by": "run"}, called_before(3, 1)) == []
	two := {"person": [
		{"provider": "github", "operation": "issues.create", "count": 2, "last_s": 1},
		{"provider": "github", "operation": "issues.get", "count": 1, "last_s": 30},
	]}
	history_row({}, two) == ["history_limit"]
}

test_a_history_that_nobody_brings_refuses if {
	row_asks("history", [{"by": "person", "provider": "*", "operations": ["*"], "within_s": 60, "at_most": 9}], []) == ["history_limit"]
	history_row({"by": "run"}, {"person": []}) == ["history_limit"]
	history_row({}, {"person": {}}) == ["history_limit"]
	history_row({"at_most": "9"}, called_before(1, 1)) == ["history_limit"]

	# Of which it is not known how long ago, or of which there is no number, counts.
	history_row({}, called_before(3, "long ago")) == ["history_limit"]
	history_row({"within_s": "60"}, called_before(3, 61)) == ["history_limit"]
	history_row({"within_s": null}, called_before(3, 61)) == ["history_limit"]
	history_row({}, called_before("1", 1)) == ["history_limit"]
	every odd in [[7], [{}], ["person"]] {
		row_asks("history", odd, [set_to("/history", called_before(1, 1))]) == ["history_limit"]
	}
	row_asks("history", {"a": 1}, []) == ["no_grant"]
}

test_an_object_is_no_list_of_conditions if {
	always := {"zone": "Europe/Berlin", "days": ["mon"], "from": "00:00", "to": "24:00"}
	row_asks("when", {"a": always}, clock("mon", 9, 0)) == ["no_grant"]
	row_asks("arguments", {"a": {"pointer": "/to", "equals": "a"}}, body_says("a")) == ["no_grant"]
	inside := [set_to("/request/mail", {"unread": false, "sends": true, "domains": ["acme.com"]})]
	row_asks("mail", {"domains": {"a": "acme.com"}}, inside) == ["no_grant"]
	mail_row({"unread": false, "sends": true, "domains": {"a": "acme.com"}}) == ["no_grant"]
}
