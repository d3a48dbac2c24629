package deputy_test

# --- bodies ----------------------------------------------------------------------------------------

test_a_plain_no_to_inspection_helps_where_somebody_wanted_to_read if {
	unwanted := set_to("/operation/inspects", false)
	every state in ["too_large", "truncated"] {
		codes([unwanted, set_to("/request/body/state", state)]) == []
	}
	codes([unwanted, set_to("/request/body/state", "anything")]) == ["body_opaque"]
}

test_a_body_with_calls_inside_must_have_been_read if {
	every kind in ["graphql", "mcp"] {
		opaque := [set_to("/operation/kind", kind), set_to("/request/body/state", "unparsed")]
		"body_opaque" in row_codes(wide, opaque)
	}
}

# --- at providers that this one does not extend ----------------------------------------------------

test_what_another_provider_wants_or_hides_is_nothing_here if {
	unread := [set_to("/request/body/state", "unparsed")]
	extended(["ghe"], unread) == [] with data.deputy_data.providers.github.inspect_body as ["read"]
	named := set_to("/operation/graphql", {
		"type": "query", "name": "", "fields": ["viewer"], "depth": 2, "types": ["Bot"], "selects": ["id"],
	})
	asked := [set_to("/operation/kind", "graphql"), named]
	extended(["ghe", "github"], asked) == ["graphql_hidden"] with data.deputy_data.providers.github.hidden as ["Bot"]
	extended(["ghe"], asked) == [] with data.deputy_data.providers.github.hidden as ["Bot"]
}

test_who_is_inside_at_another_provider_says_nothing_here if {
	codes(array.concat(write_ops, [mail_to(["evil.example"])])) == []
		with data.deputy_data.guards as {"google": {"domains": ["example.com"]}}
}

# --- GraphQL -----------------------------------------------------------------------------------------

test_what_writes_is_one_mutation if {
	writes := set_to("/operation/access", "write")

	gql([set_to("/operation/graphql/type", "mutation"), writes]) == []
	gql([set_to("/operation/graphql/type", "subscription"), writes]) == ["graphql_unread"]
	gql([set_to("/operation/graphql/type", "mutation"), writes, set_to("/operation/graphql/fields", ["a", "b"])]) == ["graphql_unread"]
}

# --- people ------------------------------------------------------------------------------------------

test_a_sign_in_of_another_strength_is_none if {
	fresh := {"acr": "urn:acr:pwd", "amr": ["pwd"], "age_s": 1}
	row_codes(stronger, [set_to("/user/auth", fresh)]) == ["step_up_required"]
}

test_texts_are_no_numbers_that_one_compares if {
	texts := object.union(wide, {"step_up": {"mfa": {"acr_values": ["urn:acr:mfa"], "max_auth_age_s": "9"}}})
	row_codes(texts, [set_to("/user/auth", {"acr": "urn:acr:mfa", "amr": ["hwk"], "age_s": "5"})]) == ["step_up_required"]
}

test_a_yes_counts_to_its_last_second if {
	yes := {"id": "ap-1", "name": "lead", "by": "bob", "expires_in_s": 1}
	row_codes(careful, [set_to("/approvals", [yes])]) == []
}

# --- patterns and names ------------------------------------------------------------------------------

test_what_two_stars_leave_stands_at_both_ends if {
	argument_is({"matches_glob": "a*b*c"}, body_says("xbc")) == ["no_grant"]
	argument_is({"matches_glob": "a*b*c"}, body_says("abx")) == ["no_grant"]
}

test_a_family_holds_all_that_begins_so if {
	widest := object.union(wide, {"operations": ["gmail.*"]})
	row_codes(widest, [set_to("/operation/id", "gmail.users.messages.send")]) == []
	row_codes(object.union(wide, {"operations": ["gmail.users.*"]}), [set_to("/operation/id", "gmail.users.stop")]) == []
}

# --- what only some kinds are asked for --------------------------------------------------------------

test_what_a_selection_may_not_name_is_asked_of_graphql_alone if {
	named := set_to("/operation/graphql", {"type": "query", "fields": ["viewer"], "types": ["Bot"], "selects": ["id"]})
	row_codes(wide, [named]) == [] with data.deputy_data.providers.github.hidden as ["Bot"]
}

test_what_is_deputys_own_needs_no_scope_of_an_account if {
	codes(array.concat(own("deputy.connect"), [set_to("/provider/connected", true)])) == []
}
