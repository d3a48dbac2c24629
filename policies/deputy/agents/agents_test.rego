package deputy_test

import data.deputy

narrow_ceiling := {"connections": ["github"], "operations": ["issues.*"], "access": ["read"]}

# With these rows for agents.
below_ceiling(agents, ops) := d if {
	d := [r.code | some r in deputy.decision.reasons] with input as json.patch(base, ops)
		with data.deputy_data.agents as agents
}

test_without_the_table_no_agent_is_limited if codes([]) == []

test_an_agent_stays_below_its_ceiling if {
	mine := {"agent:triage": [narrow_ceiling]}
	below_ceiling(mine, []) == []
	below_ceiling(mine, write_ops) == ["agent_ceiling"]
	below_ceiling(mine, [set_to("/operation/id", "pulls.list")]) == ["agent_ceiling"]
	below_ceiling(mine, [set_to("/provider/connection", "other")]) == ["agent_ceiling"]
	below_ceiling(mine, [without("/provider/connection")]) == ["agent_ceiling"]
	below_ceiling(mine, [set_to("/agent/id", "agent:other")]) == ["agent_ceiling"]
	"agent_ceiling" in below_ceiling(mine, [without("/operation")])
	"agent_ceiling" in below_ceiling(mine, [without("/agent")])
}

test_any_one_row_suffices_and_one_for_all_stands_for_agents_without if {
	below_ceiling({"agent:triage": [object.union(narrow_ceiling, {"access": ["delete"]}), narrow_ceiling]}, []) == []
	below_ceiling({"*": [narrow_ceiling]}, []) == []
	below_ceiling({"*": [narrow_ceiling], "agent:triage": []}, []) == ["agent_ceiling"]
	below_ceiling({"*": [], "agent:triage": [object.union(narrow_ceiling, {"connections": ["*"]})]}, []) == []
	below_ceiling({}, []) == ["agent_ceiling"]
}

test_a_row_with_a_key_left_out_reaches_nothing if {
	every key, _ in narrow_ceiling {
		below_ceiling({"*": [object.remove(narrow_ceiling, [key])]}, []) == ["agent_ceiling"]
		below_ceiling({"*": [object.union(narrow_ceiling, {key: null})]}, []) == ["agent_ceiling"]
	}
}

test_a_ceiling_grants_nothing if {
	below_ceiling({"*": [object.union(narrow_ceiling, {"operations": ["*"], "access": ["write"]})]}, array.concat(write_ops, [set_to("/user/groups", ["staff"])])) == ["no_grant"]
}

test_an_agent_connects_only_what_it_may_use if {
	below_ceiling({"*": [narrow_ceiling]}, own("deputy.connect")) == []
	below_ceiling({"*": [object.union(narrow_ceiling, {"connections": ["linear"]})]}, own("deputy.connect")) == ["agent_ceiling"]
	below_ceiling({"*": [{"connections": ["github"]}]}, own("deputy.connect")) == ["agent_ceiling"]
}
