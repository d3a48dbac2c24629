package deputy_test

import data.deputy

test_a_row_with_a_key_left_out_matches_nothing if {
	row_codes(wide, []) == []
	every key, _ in wide {
		row_codes(object.remove(wide, [key]), []) == ["no_grant"]
	}
}

test_a_row_with_a_key_of_another_type_matches_nothing if {
	every key, _ in object.remove(wide, ["max_body_bytes"]) {
		row_codes(object.union(wide, {key: null}), []) == ["no_grant"]
	}
	row_codes(object.union(wide, {"max_body_bytes": "9"}), []) == ["no_grant"]
}

row(key, value) := row_codes(object.union(object.remove(wide, [key]), {key: value}), [])

test_operations_by_name_and_family if {
	every names in [["issues.listForRepo"], ["a", "issues.*"], ["*"]] {
		row("operations", names) == []
	}
	every names in [["issues"], ["issues.list"], ["issues.listForRepo.*"], ["issu*"], ["*.listForRepo"], []] {
		row("operations", names) == ["no_grant"]
	}
	three := object.union(wide, {"operations": ["gmail.users.*"]})
	row_codes(three, [set_to("/operation/id", "gmail.users.messages.send")]) == []
	row_codes(three, [set_to("/operation/id", "gmail.user.messages.send")]) == ["no_grant"]
}

test_paths if {
	every pattern in [
		["**"], ["repos", "**"], ["repos", "acme", "*", "issues"], ["*", "*", "*", "*"],
		["repos", "acme", "app", "issues", "**"],
	] {
		row("path", pattern) == []
	}
	every pattern in [
		[], ["repos"], ["repos", "acme", "*"], ["*", "*", "*", "*", "*"], ["repos", "other", "**"],
		["repos", "acme", "app", "issues", "*", "**"], ["**", "issues"], ["repos", "ACME", "**"], ["repos", "**", "issues"],
	] {
		row("path", pattern) == ["no_grant"]
	}
}

test_access_and_kind if {
	row("access", ["write"]) == ["no_grant"]
	row("kinds", ["graphql"]) == ["no_grant"]
}

test_agents if {
	row("agents", ["agent:other", "agent:triage"]) == []
	row("agents", ["agent:other"]) == ["no_grant"]
	row("agents", ["agent:*"]) == ["no_grant"]
}

by(agents, workload) := row_codes(object.union(wide, {"agents": agents}), [set_to("/agent/workload", workload)])

test_agents_of_one_workload if {
	cluster := {"name": "cluster", "subject": "system:serviceaccount:agents:triage"}
	bound := [{"id": "agent:triage", "workload": "cluster"}]
	by(bound, cluster) == []
	by([{"id": "*", "workload": "cluster"}], cluster) == []
	by(bound, object.union(cluster, {"name": "laptop"})) == ["no_grant"]
	by([{"id": "agent:other", "workload": "cluster"}], cluster) == ["no_grant"]

	# Said by a tag alone, or only half of it asked for.
	row("agents", bound) == ["no_grant"]
	by([{"id": "agent:triage"}], cluster) == ["no_grant"]
	by([{"workload": "cluster"}], cluster) == ["no_grant"]
}

test_entitlement if {
	row("entitlement", "github:read") == ["no_grant"]
	named := object.union(wide, {"entitlement": "github:read"})
	row_codes(named, [set_to("/user/entitlements", ["github:read"])]) == []
}

test_of_several_rows_the_strictest_counts if {
	i := json.patch(base, [set_to("/user/groups", ["engineering", "staff"])])
	d := deputy.decision with input as i
		with data.deputy_data.grants.github as {
			"gh-read": wide,
			"gh-write": object.union(wide, {"max_entitlement_age_s": 5}),
		}
	d.grants == ["gh-read", "gh-write"]
	d.max_entitlement_age_s == 5
}

# As deputy writes it for a role of many rows: operation, agent, entitlement, places of the path.
indexed(index, ops) := d.grants if {
	d := deputy.decision with input as json.patch(base, ops)
		with data.deputy_data.grants.github as {"gh-read": wide, "other": wide}
		with data.deputy_data.role_grants.github as {"developer": ["gh-read", "other"]}
		with data.deputy_data.grant_index as {"github": {"developer": index}}
}

shapes(at, key, ids) := headed(at, [], key, ids)

headed(at, heads, key, ids) := [{"at": [], "heads": [], "rows": {}}, {"at": at, "heads": heads, "rows": {key: ids}}]

test_an_index_names_the_rows_that_are_compared if {
	every name in ["*", "issues.*", "issues.listForRepo"] {
		indexed({name: {"*": {"*": shapes([], "", ["gh-read"])}}}, []) == ["gh-read"]
	}
	indexed({"*": {"agent:triage": {"*": shapes([], "", ["other"])}}}, []) == ["other"]
	indexed({"*": {"*": {"*": shapes([0, 2], "repos/app", ["other"])}}}, []) == ["other"]
	entitled := [set_to("/user/entitlements", ["x", "y"])]
	indexed({"*": {"*": {"y": shapes([], "", ["other"])}}}, entitled) == ["other"]
}

test_an_index_tells_beginnings_of_a_segment_apart if {
	indexed({"*": {"*": {"*": headed([0], [[2, 2]], "repos/ap", ["other"])}}}, []) == ["other"]
	indexed({"*": {"*": {"*": headed([0], [[2, 2]], "repos/pu", ["other"])}}}, []) == []
	indexed({"*": {"*": {"*": headed([0], [[2, 9]], "repos/app", ["other"])}}}, []) == ["other"]
	indexed({"*": {"*": {"*": headed([0], [[9, 2]], "repos/", ["other"])}}}, []) == []
}

test_what_an_index_does_not_name_is_not_granted if {
	indexed({}, []) == []
	every name in ["issues", "pulls.*", "issues.create"] {
		indexed({name: {"*": {"*": shapes([], "", ["gh-read"])}}}, []) == []
	}
	indexed({"*": {"agent:other": {"*": shapes([], "", ["gh-read"])}}}, []) == []
	indexed({"*": {"*": {"x": shapes([], "", ["gh-read"])}}}, []) == []
	indexed({"*": {"*": {"*": shapes([0, 9], "repos", ["none"])}}}, []) == []
	indexed({"*": {"*": {"*": shapes([1], "beta", ["gh-read"])}}}, []) == []
}

test_an_index_grants_nothing_that_a_row_does_not if {
	all := {"*": {"*": {"*": shapes([], "", ["gh-read", "other", "none"])}}}
	indexed(all, []) == ["gh-read", "other"]
	indexed(all, [set_to("/operation/access", "other")]) == []
}

test_a_segment_may_begin_or_end_somehow if {
	every pattern in [
		["repos", "ac*", "**"], ["repos", "*me", "**"], ["repos", "a*e", "**"], ["repos", "a*m*", "**"], ["repos", "acme*", "**"],
	] {
		row("path", pattern) == []
	}
	every pattern in [
		["repos", "public-*", "**"], ["repos", "*x", "**"], ["repos", "AC*", "**"], ["repos", "acme*e", "**"],
		["repos", "ac**", "**"], ["repos", "a*c*m*e", "**"], ["repos", "***", "**"],
	] {
		row("path", pattern) == ["no_grant"]
	}
}

# Some servers read two segments where one holds a slash.
test_a_star_within_a_segment_stands_for_no_slash if {
	slashed := [set_to("/request/segments", ["repos", "acme/secret", "issues"])]
	row_codes(object.union(object.remove(wide, ["path"]), {"path": ["repos", "acme*", "issues"]}), slashed) == ["no_grant"]
	row_codes(object.union(object.remove(wide, ["path"]), {"path": ["repos", "*", "issues"]}), slashed) == []
}

# --- standing --------------------------------------------------------------------------------------

# What a sleeper who asks for this gets, where the row is that of this role.
stands(role, ops) := c if {
	asked := {"id": null, "days": 1, "expires_at": 1893456000, "operations": ["issues.create"]}
	who := [set_to("/user/groups", []), set_to("/user/roles", ["sleeper"]), set_to("/user/standing", asked)]
	patches := array.concat(who, ops)
	c := codes(patches) with data.deputy_data.standing as {role: {"max_days": 30, "operations": ["*"], "agents": ["*"]}}
}

test_standing_is_an_operation_of_deputys_own if {
	stands("sleeper", own("deputy.standing")) == []
	as_rest := array.concat(own("deputy.standing"), [set_to("/operation/kind", "rest")])
	"no_grant" in stands("sleeper", as_rest)
	"no_grant" in stands("sleeper", own("deputy.run"))
}

test_standing_by_the_row_of_anothers_role_is_none if {
	"no_grant" in stands("somebody_elses", own("deputy.standing"))
}

test_standing_names_a_list_of_operations if {
	listed := array.concat(own("deputy.standing"), [set_to("/user/standing/operations", {"a": "issues.create"})])
	"no_grant" in stands("sleeper", listed)
}
