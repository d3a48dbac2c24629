package deputy_test

import data.deputy

test_engineering_reads if {
	d := decide([])
	d == {
		"version": 1,
		"allow": true,
		"reasons": [],
		"required_scopes": ["repo"],
		"obligations": {},
		"max_entitlement_age_s": 300,
		"grants": ["gh-read"],
	}
}

test_engineering_writes_with_fresher_facts if {
	d := decide(write_ops)
	d.allow
	d.max_entitlement_age_s == 60
	codes(array.concat(write_ops, [set_to("/user/entitlements_age_ms", 60001)])) == ["entitlements_stale"]
}

test_staff_reads_and_does_not_write if {
	staff := set_to("/user/groups", ["staff"])
	decide([staff]).allow
	codes(array.concat(write_ops, [staff])) == ["no_grant"]
}

test_a_role_may_come_straight_from_the_identity_provider if {
	decide([set_to("/user/groups", []), set_to("/user/roles", ["reader"])]).allow
}

test_nobody_without_a_role if {
	codes([set_to("/user/groups", ["visitors"])]) == ["no_grant"]
	codes([set_to("/user/groups", [])]) == ["no_grant"]
}

test_an_empty_input_is_refused_and_not_undefined if {
	d := deputy.decision with input as {}
	d.allow == false
	[r.code | some r in d.reasons] == [
		"body_opaque", "connection_missing", "entitlements_stale", "host_mismatch",
		"input_unsupported", "no_grant", "operation_unknown", "user_inactive",
	]
}

test_other_versions_are_refused if {
	codes([set_to("/version", 2)]) == ["input_unsupported"]
	codes([set_to("/version", "1")]) == ["input_unsupported"]
	codes([without("/version")]) == ["input_unsupported"]
}

# Every field that is taken away or changes its type must turn the answer into a refusal.
test_no_field_helps_by_being_missing if {
	every path in read_paths {
		decide([without(path)]).allow == false
	}
}

test_no_field_helps_by_its_type if {
	every path in read_paths {
		every value in [null, 7, {}, {"a": "engineering", "b": "repo"}] {
			decide([set_to(path, value)]).allow == false
		}
	}
}

read_paths := [
	"/version", "/user", "/user/id", "/user/active", "/user/groups", "/user/roles", "/user/entitlements",
	"/agent", "/agent/id",
	"/provider", "/provider/id", "/provider/connected", "/provider/granted_scopes", "/request", "/request/host",
	"/request/segments", "/request/body", "/request/body/state", "/operation", "/operation/id", "/operation/kind",
	"/operation/access", "/operation/required_scopes", "/approvals",
]

test_age_of_facts_is_a_number_within_the_limit if {
	decide([set_to("/user/entitlements_age_ms", 300000)]).allow
	every value in [300001, -1, null, "5", true, []] {
		codes([set_to("/user/entitlements_age_ms", value)]) == ["entitlements_stale"]
	}
	codes([without("/user/entitlements_age_ms")]) == ["entitlements_stale"]
}

test_inactive_people if {
	codes([set_to("/user/active", false)]) == ["user_inactive"]
	codes([set_to("/user/active", "true")]) == ["user_inactive"]
}

test_operations_outside_the_catalogue if codes([set_to("/operation/id", "unknown")]) == ["operation_unknown"]

test_hosts if {
	codes([set_to("/request/host", "api.github.com.evil.example")]) == ["host_mismatch"]
	codes([set_to("/request/host", "codeload.github.com")]) == ["host_mismatch"]
	codes([set_to("/provider/id", "gitlab")]) == ["host_mismatch", "no_grant"]
}

test_hosts_that_each_person_has_fit_a_suffix if {
	at(host) == []
	every other in ["acme.my.salesforce.com.evil.example", "my-salesforce.com", "", "acme.my.salesforce.co"] {
		at(other) == ["host_mismatch"]
	}
}

host := "acme.my.salesforce.com"

at(name) := codes([
	set_to("/provider/id", "salesforce"),
	set_to("/request/host", name),
	set_to("/operation/id", "query"),
])

asset_ops := [
	set_to("/operation/kind", "asset"),
	set_to("/operation/id", "github.asset"),
	set_to("/operation/required_scopes", []),
	set_to("/request/host", "codeload.github.com"),
	set_to("/provider/connected", false),
	set_to("/provider/granted_scopes", []),
]

test_downloads_need_no_account if {
	decide(asset_ops).allow
	codes(array.concat(asset_ops, [set_to("/request/host", "api.github.com")])) == ["host_mismatch"]
	codes(array.concat(asset_ops, [set_to("/operation/access", "write")])) == ["host_mismatch", "no_grant"]
}

test_consent_is_the_only_thing_missing if {
	codes([set_to("/provider/connected", false), set_to("/provider/granted_scopes", [])]) == ["connection_missing"]
	d := decide([set_to("/provider/granted_scopes", ["read:org"])])
	d.reasons == [{"code": "scope_missing", "msg": "not granted by the person: repo"}]
	d.required_scopes == ["repo"]
}

test_nobody_who_is_not_entitled_is_asked_to_connect if {
	codes([set_to("/provider/connected", false), set_to("/user/groups", [])]) == ["connection_missing", "no_grant"]
}

test_a_row_may_ask_for_scopes if {
	d := row_decision(object.union(wide, {"scopes": ["workflow"]}), [])
	d.required_scopes == ["repo", "workflow"]
	[r.code | some r in d.reasons] == ["scope_missing"]
}

test_bodies if {
	state("none") == []
	state("parsed") == []
	state("unparsed") == []
	state("too_large") == ["body_opaque"]
	state("truncated") == ["body_opaque"]
	state("anything") == ["body_opaque"]
}

state(s) := codes([set_to("/request/body/state", s)])

test_bodies_that_had_to_be_inspected if {
	wanted := set_to("/operation/inspects", true)
	codes([wanted, set_to("/request/body/state", "parsed")]) == []
	codes([wanted, set_to("/request/body/state", "none")]) == []
	codes([wanted, set_to("/request/body/state", "unparsed")]) == ["body_opaque"]
	unwanted := set_to("/operation/inspects", false)
	codes([unwanted, set_to("/request/body/state", "too_large")]) == []
	large := set_to("/request/body/state", "too_large")
	row_codes(wide, array.concat(read_graphql, [unwanted, large])) == ["body_opaque"]
	d := deputy.decision with input as json.patch(base, [unwanted, large])
		with data.deputy_data.providers.github.inspect_body as ["read"]
	[r.code | some r in d.reasons] == ["body_opaque"]
}

# --- GraphQL ---------------------------------------------------------------------------------------

read_graphql := [
	set_to("/operation/kind", "graphql"),
	set_to("/operation/graphql", {"type": "query", "name": "", "fields": ["viewer"], "depth": 2}),
]

gql(ops) := row_codes(wide, array.concat(read_graphql, ops))

test_what_the_tables_hide_no_selection_names if {
	named := set_to("/operation/graphql", {
		"type": "query", "name": "", "fields": ["viewer"], "depth": 2, "types": ["Bot"], "selects": ["apiKeys", "id"],
	})
	every hidden in ["Bot", "apiKeys"] {
		gql([named]) == ["graphql_hidden"] with data.deputy_data.providers.github.hidden as [hidden]
	}
	gql([named]) == [] with data.deputy_data.providers.github.hidden as ["User"]
	gql([named, set_to("/provider/lineage", ["github", "base"])]) == ["graphql_hidden"]
		with data.deputy_data.providers.base.hidden as ["Bot"]
	every path in ["/operation/graphql/types", "/operation/graphql/selects"] {
		gql([named, without(path)]) == ["graphql_hidden"] with data.deputy_data.providers.github.hidden as ["User"]
	}
}

test_graphql_is_one_root_field_that_was_read if {
	gql([]) == []
	gql([without("/operation/graphql")]) == ["graphql_unread"]
	every type in ["subscription", "Query", "", null] {
		gql([set_to("/operation/graphql/type", type)]) == ["graphql_unread"]
	}
	every fields in [[], ["viewer", "issues"], [7], "viewer", {}, null] {
		gql([set_to("/operation/graphql/fields", fields)]) == ["graphql_unread"]
	}
	codes(read_graphql) == ["no_grant"]
}

test_a_mutation_is_no_read if {
	mutation := set_to("/operation/graphql/type", "mutation")
	gql([mutation]) == ["graphql_unread"]
	every access in ["write", "delete", "admin"] {
		gql([mutation, set_to("/operation/access", access)]) == []
	}
}

# --- deputy's own operations ---------------------------------------------------------------------

own(id) := [
	set_to("/operation/kind", "deputy"),
	set_to("/operation/id", id),
	set_to("/request/host", "localhost"),
	set_to("/request/segments", []),
	set_to("/provider/connected", false),
	set_to("/provider/granted_scopes", []),
]

test_whoever_has_a_row_may_connect if {
	d := decide(own("deputy.connect"))
	d.allow
	d.grants == ["role:developer"]
	d.required_scopes == ["repo"]
	codes(array.concat(own("deputy.connect"), [set_to("/user/groups", ["visitors"])])) == ["no_grant"]
	codes(array.concat(own("deputy.connect"), [set_to("/provider/id", "gitlab")])) == ["no_grant"]
	codes(array.concat(own("deputy.connect"), [set_to("/user/active", false)])) == ["user_inactive"]
}

test_a_role_of_one_row_may_connect if {
	decide(array.concat(own("deputy.connect"), [set_to("/user/groups", ["staff"])])).grants == ["role:reader"]
}

test_what_is_deputys_own_has_its_kind_and_its_id if {
	runner := set_to("/user/roles", ["operator-run"])
	as_rest := set_to("/operation/kind", "rest")
	nobody := set_to("/user/groups", [])
	"no_grant" in codes(array.concat(own("deputy.run"), [runner, nobody, as_rest]))
	"no_grant" in codes(array.concat(own("deputy.else"), [runner, nobody]))
	"no_grant" in codes(array.concat(own("deputy.connect"), [runner, nobody]))
	"operation_unknown" in codes(array.concat(own("deputy.connect"), [without("/operation/kind")]))
	row_codes(object.union(wide, {"kinds": ["deputy"]}), own("deputy.run")) == ["no_grant"]
}

test_runs_are_for_one_role_only if {
	codes(own("deputy.run")) == ["no_grant"]
	d := decide(array.concat(own("deputy.run"), [set_to("/user/roles", ["operator-run"])]))
	d.allow
	d.grants == ["role:operator-run"]
}

standing(days, operations, agents) := d if {
	asked := {"id": null, "days": days, "expires_at": 1893456000, "operations": operations}
	patches := array.concat(own("deputy.standing"), [set_to("/user/standing", asked), set_to("/agent/id", "agent:nightly")])
	rows := {"developer": {"max_days": 30, "operations": ["issues.*"], "agents": agents}}
	d := codes(patches) with data.deputy_data.standing as rows
}

test_standing_goes_as_far_as_a_row_of_a_role if {
	standing(30, ["issues.create", "issues.get"], ["agent:nightly"]) == []
	standing(31, ["issues.create"], ["*"]) == ["no_grant"]
	standing(1, ["issues.create", "pulls.merge"], ["*"]) == ["no_grant"]
	standing(1, ["issues.create"], ["agent:other"]) == ["no_grant"]
	standing(1, [], ["*"]) == ["no_grant"]
	standing("1", ["issues.create"], ["*"]) == ["no_grant"]
}

test_standing_names_the_role if {
	asked := {"id": null, "days": 1, "expires_at": 1893456000, "operations": ["issues.create"]}
	d := decide(array.concat(own("deputy.standing"), [set_to("/user/standing", asked)]))
		with data.deputy_data.standing as {"developer": {"max_days": 30, "operations": ["*"], "agents": ["*"]}}
	d.grants == ["role:developer"]
}

test_nobody_gives_standing_without_a_row if {
	asked := set_to("/user/standing", {"id": null, "days": 1, "expires_at": 1893456000, "operations": ["issues.create"]})
	codes(array.concat(own("deputy.standing"), [asked])) == ["no_grant"]
	codes(own("deputy.standing")) == ["no_grant"]
}

test_other_operations_of_deputy_do_not_exist if {
	codes(own("deputy.else")) == ["no_grant", "operation_unknown"]
	codes([set_to("/operation/id", "deputy.connect"), set_to("/operation/access", "write")]) == ["no_grant"]
}

# --- obligations ---------------------------------------------------------------------------------

limited := object.union(wide, {"obligations": {"slow": {"type": "rate_limit", "properties": {"limit": 5, "window_s": 60}}}})

test_obligations_come_with_an_allow_only if {
	row_decision(limited, []).obligations == limited.obligations
	row_decision(limited, [set_to("/user/active", false)]).obligations == {}
}

stronger := object.union(wide, {"step_up": {"mfa": {"acr_values": ["urn:acr:mfa"], "max_auth_age_s": 600}}})

test_step_up if {
	d := row_decision(stronger, [])
	[r.code | some r in d.reasons] == ["step_up_required"]
	d.obligations == {"mfa": {"type": "step-up", "properties": stronger.step_up.mfa}}
	mfa := {"acr": "urn:acr:mfa", "amr": ["hwk"], "age_s": 30}
	done := row_decision(stronger, [set_to("/user/auth", mfa)])
	done.allow
	done.obligations == {}
	every auth in [object.union(mfa, {"age_s": null}), object.union(mfa, {"age_s": 601}), null, {}] {
		row_codes(stronger, [set_to("/user/auth", auth)]) == ["step_up_required"]
	}
	row_codes(stronger, [without("/user/auth")]) == ["step_up_required"]
}

careful := object.union(wide, {"approval": {"lead": {"approvers": ["group:leads"], "ttl_s": 900}}})

test_approval if {
	d := row_decision(careful, [])
	[r.code | some r in d.reasons] == ["approval_required"]
	d.obligations == {"lead": {"type": "approval", "properties": careful.approval.lead}}
	yes := {"id": "ap-1", "name": "lead", "by": "bob", "expires_in_s": 600}
	done := row_decision(careful, [set_to("/approvals", [yes])])
	done.allow
	done.obligations == {}
	every other in [{"expires_in_s": 0}, {"expires_in_s": "later"}, {"expires_in_s": null}, {"name": "x"}] {
		row_codes(careful, [set_to("/approvals", [object.union(yes, other)])]) == ["approval_required"]
	}
}

checked := object.union(wide, {"checks": ["can_edit", "in_region"]})

said(checks) := row_codes(checked, [set_to("/user/checks", checks)])

test_checks_of_a_row_must_all_be_confirmed if {
	said({"can_edit": true, "in_region": true, "other": false}) == []
	row_codes(wide, [set_to("/user/checks", {"can_edit": false})]) == []
	d := row_decision(checked, [set_to("/user/checks", {"can_edit": true, "in_region": false})])
	d.reasons == [{"code": "check_refused", "msg": "the authorization service does not confirm it: in_region"}]
	every yes in [false, "true", 1, null, {}, ["true"]] {
		said({"can_edit": true, "in_region": yes}) == ["check_refused"]
	}
	every checks in [{}, {"can_edit": true}, ["can_edit", "in_region"], "can_edit", true, null] {
		"check_refused" in said(checks)
	}
	"check_refused" in row_codes(checked, [])
}

test_of_several_rows_each_wants_its_checks if {
	i := json.patch(base, [set_to("/user/checks", {"can_edit": false})])
	d := deputy.decision with input as i
		with data.deputy_data.grants.github as {
			"gh-read": wide,
			"gh-write": object.union(wide, {"checks": ["can_edit"]}),
		}
	[r.code | some r in d.reasons] == ["check_refused"]
}

test_checks_that_are_no_list_match_nothing if {
	every checks in [null, "can_edit", {"a": "can_edit"}, 1] {
		row_codes(object.union(wide, {"checks": checks}), []) == ["no_grant"]
	}
	row_codes(object.union(wide, {"checks": []}), []) == []
}

extended(lineage, ops) := [r.code | some r in d.reasons] if {
	own := [set_to("/provider/id", "ghe"), set_to("/provider/lineage", lineage), set_to("/request/host", "ghe.example")]
	d := deputy.decision with input as json.patch(base, array.concat(own, ops))
		with data.deputy_data.grants.ghe as {"all": wide}
		with data.deputy_data.role_grants.ghe as {"developer": ["all"]}
		with data.deputy_data.providers.ghe as {"hosts": ["ghe.example"], "assets": [], "inspect_body": []}
}

test_what_an_ancestor_refuses_is_refused if {
	every lineage in [["ghe", "github"], ["ghe", "our_base", "github"]] {
		extended(lineage, []) == []
		extended(lineage, call("DELETE", "repos/acme/app")) == ["github_repo_delete"]
		extended(lineage, call("PUT", "repos/acme/app/keys")) == ["github_protected"]
		extended(lineage, call("PUT", "repos/acme/app/pulls/7/merge")) == ["github_merge"]
	}
	extended(["ghe"], call("DELETE", "repos/acme/app")) == []
}

test_a_guard_is_lifted_at_the_provider_that_the_table_names if {
	merge := call("PUT", "repos/acme/app/pulls/7/merge")
	extended(["ghe", "github"], merge) == ["github_merge"] with data.deputy_data.guards as {"github": {"merge": true}}
	extended(["ghe", "github"], merge) == [] with data.deputy_data.guards as {"ghe": {"merge": true}}
	every value in ["no", 1, {}] {
		extended(["ghe", "github"], merge) == ["github_merge"] with data.deputy_data.guards as {"ghe": {"merge": value}}
	}
}

test_bodies_that_an_ancestor_wants_read_are_read if {
	unread := [set_to("/request/body/state", "unparsed")]
	extended(["ghe", "github"], unread) == []
	extended(["ghe", "github"], unread) == ["body_opaque"] with data.deputy_data.providers.github.inspect_body as ["read"]
}

test_a_lineage_is_a_list_where_there_is_one if {
	every lineage in [{"a": "github"}, "github", null] {
		extended(lineage, []) == ["input_unsupported"]
	}
}

# --- what two rows demand --------------------------------------------------------------------------

two_rows(first, second) := d if {
	d := deputy.decision with input as json.patch(base, [set_to("/user/groups", ["engineering", "staff"]), mail_to(["example.com"])])
		with data.deputy_data.grants.github as {"gh-read": object.union(wide, first), "gh-write": object.union(wide, second)}
}

hourly(n) := {"hourly": {"type": "rate_limit", "properties": {"key": ["person"], "limit": n, "window_s": 3600}}}

fresh_sign_in := {"acr_values": ["urn:acr:mfa"], "max_auth_age_s": 600}

test_two_rows_may_say_the_same if {
	d := two_rows({"obligations": hourly(20)}, {"obligations": hourly(20)})
	d.allow
	d.obligations == hourly(20)
	two_rows({"obligations": hourly(20)}, {}).obligations == hourly(20)
}

test_two_rows_that_say_different_things_by_one_name_refuse if {
	codes_of(two_rows({"obligations": hourly(20)}, {"obligations": hourly(30)})) == ["obligation_conflict"]
	codes_of(two_rows({"obligations": hourly(20)}, {"step_up": {"hourly": fresh_sign_in}})) == ["obligation_conflict", "step_up_required"]
	a := two_rows({"approval": {"boss": {"approvers": ["manager"], "ttl_s": 60}}}, {"approval": {"boss": {"approvers": ["group:x"], "ttl_s": 60}}})
	codes_of(a) == ["approval_required", "obligation_conflict"]
	a.obligations == {}
	two_rows({"step_up": {"mfa": fresh_sign_in}}, {"step_up": {"mfa": fresh_sign_in}}).obligations == {"mfa": {"type": "step-up", "properties": fresh_sign_in}}
}

test_one_value_for_two_demands_is_not_the_same if {
	lead := {"approvers": ["manager"], "ttl_s": 60}
	d := two_rows({"step_up": {"x": lead}}, {"approval": {"x": lead}})
	codes_of(d) == ["approval_required", "obligation_conflict", "step_up_required"]
	d.obligations == {}
}

test_an_obligation_may_be_called_what_a_condition_is_called if {
	row := {"obligations": {"domains": hourly(20).hourly}, "mail": {"domains": ["example.com"]}}
	two_rows(row, row).allow
}

codes_of(d) := [r.code | some r in d.reasons]

# One row that uses a name for two demands is refused by both, and says neither.
test_one_name_for_two_demands_of_one_row if {
	d := row_decision(object.union(wide, {"step_up": {"x": fresh_sign_in}, "approval": {"x": {"approvers": ["manager"], "ttl_s": 60}}}), [])
	codes_of(d) == ["approval_required", "step_up_required"]
	d.obligations == {}
}
