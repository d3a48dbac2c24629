package deputy_test

asks(document) := [
	set_to("/provider", {
		"id": "linear",
		"connection": "linear",
		"connected": true,
		"account": "alice@example.com",
		"granted_scopes": ["read"],
	}),
	set_to("/request/method", "POST"),
	set_to("/request/host", "api.linear.app"),
	set_to("/request/segments", ["graphql"]),
	set_to("/request/query", {}),
	set_to("/request/body", {"state": "parsed", "bytes": 64, "json": {"/query": document}}),
	set_to("/operation", {"id": "graphql", "kind": "rest", "access": "admin", "required_scopes": ["read"]}),
]

test_linear_is_read_by_everybody_with_a_role if {
	decide(asks("{ issues { nodes { id } } }")).allow
	decide(array.concat(asks("query A { viewer { id } }"), [set_to("/user/groups", ["staff"])])).allow
}

test_what_may_write_at_linear_is_refused if {
	every document in ["mutation { issueDelete(id: 1) }", "query A { a } mutation B { b }", "subscription { a }", null, 7, {}] {
		codes(asks(document)) == ["linear_write"]
	}
	two := set_to("/request/query", {"query": ["mutation { a }"]})
	codes(array.concat(asks("{ a }"), [two])) == ["linear_write"]
}

test_linear_bodies_must_be_read if {
	state := set_to("/request/body", {"state": "unparsed", "bytes": 64})
	codes(array.concat(asks("{ a }"), [state])) == ["body_opaque", "linear_write"]
}

test_an_account_at_linear_may_be_connected if {
	own := [
		set_to("/operation/kind", "deputy"),
		set_to("/operation/id", "deputy.connect"),
		set_to("/provider/connected", false),
	]
	decide(array.concat(asks(null), own)).allow
}
