package deputy_test

import data.deputy

app_codes(ops) := [r.code | some r in d.reasons] if {
	d := deputy.decision with input as json.patch(base, array.concat([set_to("/provider/id", "github_app")], ops))
		with data.deputy_data.grants.github_app as {"app-read": wide}
}

test_an_app_is_refused_what_github_is_refused if {
	app_codes([]) == []
	app_codes(call("DELETE", "repos/acme/app")) == ["github_repo_delete"]
	app_codes(call("PUT", "repos/acme/app/keys")) == ["github_protected"]
}

test_engineering_reads_with_an_app if decide([set_to("/provider/id", "github_app")]).allow
