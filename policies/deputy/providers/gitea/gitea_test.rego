package deputy_test

import data.deputy

gitea_decision(ops) := d if {
	d := deputy.decision with input as json.patch(base, array.concat([set_to("/provider/id", "gitea")], ops))
		with data.deputy_data.grants.gitea as {"gitea-read": wide}
}

tea(method, path) := [r.code | some r in gitea_decision(call(method, path)).reasons]

test_gitea_repositories_stay if {
	every path in ["api/v1/repos/acme/app", "api/v1/repos/acme/app/", "API/v1/Repos/acme/app"] {
		tea("DELETE", path) == ["gitea_repo_delete"]
		tea("PATCH", path) == []
	}
	tea("POST", "api/v1/repos/acme/app/transfer") == ["gitea_repo_delete"]
	tea("GET", "api/v1/repos/acme/app/transfer") == []
	tea("DELETE", "api/v1/repos/acme/app/issues/comments/9") == []
	every path in ["api/v1/orgs/acme", "api/v1/orgs/acme/"] {
		tea("DELETE", path) == ["gitea_repo_delete"]
		tea("PATCH", path) == []
	}
	every path in ["api/v1/teams/4", "api/v1/orgs/acme/labels", "v1/api/orgs/acme", "api/v2/orgs/acme"] {
		tea("DELETE", path) == []
	}
}

test_gitea_secrets_keys_hooks_and_access_stay if {
	every path in [
		"api/v1/repos/acme/app/keys", "api/v1/repos/acme/app/Hooks/1", "api/v1/repos/acme/app/collaborators/bob",
		"api/v1/repos/acme/app/actions/secrets/A", "api/v1/repos/acme/app/actions/runners/registration-token",
		"api/v1/orgs/acme/hooks", "api/v1/orgs/acme/actions/secrets/A", "api/v1/user/actions/secrets/A",
		"api/v1/teams/4/members/bob", "api/v1/user/keys", "api/v1/users/alice/tokens", "api/v1/admin/users",
		"api/v1/repos/acme/app/teams/t", "api/v1/repos/acme/app/push_mirrors", "api/v1/repos/acme/app/branch_protections",
		"api/v1/repos/acme/app/tag_protections/3", "api/v1/repos/acme/app/actions/variables/A", "api/v1/orgs/acme/members/bob",
		"api/v1/orgs/acme/teams", "api/v1/orgs/acme/blocks/bob", "api/v1/teams/4/repos/acme/app", "api/v1/user/gpg_keys",
		"api/v1/user/hooks/3", "api/v1/user/applications/oauth2", "api/v1/user/emails",
	] {
		every method in ["POST", "PUT", "PATCH", "DELETE", "LINK"] {
			tea(method, path) == ["gitea_protected"]
		}
		tea("GET", path) == []
		tea("HEAD", path) == []
	}
}

test_a_gitea_file_may_be_called_hooks if {
	tea("PUT", "api/v1/repos/acme/app/contents/keys/hooks/secrets") == []
	tea("POST", "acme/hooks/git-upload-pack") == []
	every path in [
		"repos/keys/secrets/issues", "repos/acme/hooks/issues", "repos/acme/members/issues", "repos/acme/tokens/issues",
		"repos/acme/actions/issues", "repos/actions/app/issues", "repos/acme/app/x/secrets", "repos/acme/app/actions/runs",
		"orgs/acme/labels", "user/settings", "teams/4/x", "users/alice/x",
	] {
		tea("POST", $"api/v1/{path}") == []
	}
}

test_a_host_of_ones_own_is_gitea_and_no_other_provider if {
	own := array.concat(call("GET", "api/v1/user"), [set_to("/request/host", "git.example.com")])
	[r.code | some r in gitea_decision(own).reasons] == []
	row_codes(wide, own) == ["host_mismatch"]
}

gitea_reviews := "api/v1/repos/acme/app/pulls/7/reviews"

gitea_told(path, ops) := [r.code | some r in gitea_decision(array.concat(call("POST", path), ops)).reasons]

test_agents_do_not_approve_at_gitea if {
	create := named("pulls.createReview")
	gitea_told(gitea_reviews, array.concat(create, body({"/event": "APPROVED"}))) == ["gitea_approve"]
	gitea_told(gitea_reviews, body({})) == ["gitea_approve"]
	gitea_told(sprintf("%s/3", [gitea_reviews]), array.concat(create, body({}))) == ["gitea_approve"]
	every act in ["dismissals", "undismissals"] {
		gitea_told(sprintf("%s/3/%s", [gitea_reviews, act]), body({"/event": "COMMENT"})) == ["gitea_approve"]
		tea("GET", sprintf("%s/3/%s", [gitea_reviews, act])) == []
		tea("POST", $"api/v1/repos/acme/app/issues/7/reviews/3/{act}") == []
	}
	gitea_told(gitea_reviews, array.concat(create, body({}))) == []
	every event in ["COMMENT", "REQUEST_CHANGES", "PENDING"] {
		gitea_told(gitea_reviews, body({"/event": event})) == []
	}
	tea("POST", "api/v1/repos/acme/app/issues/7/reviews") == []
	tea("POST", "api/v1/repos/acme/app/pulls/7/x") == []
	tea("DELETE", sprintf("%s/3", [gitea_reviews])) == []
}

test_agents_do_not_merge_at_gitea if {
	tea("POST", "api/v1/repos/acme/app/pulls/7/Merge") == ["gitea_merge"]
	tea("POST", "api/v1/repos/acme/app/merge-upstream") == ["gitea_merge"]
	tea("DELETE", "api/v1/repos/acme/app/pulls/7/merge") == []
	tea("GET", "api/v1/repos/acme/app/pulls/7/merge") == []
	tea("POST", "api/v1/repos/acme/app/pulls/7/update") == []
	tea("POST", "api/v1/repos/acme/app/issues/7/merge") == []
}

gitea_lifted(name, path) := [r.code | some r in d.reasons] if {
	d := gitea_decision(call("POST", path)) with data.deputy_data.guards.gitea as {name: true}
}

test_the_table_guards_leaves_gitea_to_agents_too if {
	gitea_lifted("approve", gitea_reviews) == []
	gitea_lifted("merge", "api/v1/repos/acme/app/pulls/7/merge") == []
	gitea_lifted("approve", "api/v1/repos/acme/app/pulls/7/merge") == ["gitea_merge"]
}

# --- branches that the tables protect ----------------------------------------------------------------

tea_branches(method, path, ops) := c if {
	c := [r.code | some r in gitea_decision(array.concat(call(method, path), ops)).reasons] with data.deputy_data.guards.gitea as {"branches": ["main", "release/*", "hot/fix"]}
}

test_gitea_protected_branches_are_not_written_to if {
	every branch in ["main", "MAIN", "release/1", "hot/fix"] {
		every path in ["api/v1/repos/acme/app/contents/a", "api/v1/repos/acme/app/contents", "api/v1/repos/acme/app/diffpatch"] {
			tea_branches("POST", path, [read_body({"/branch": branch})]) == ["gitea_branch"]
			tea_branches("PUT", path, [read_body({"/branch": "feature", "/new_branch": branch})]) == ["gitea_branch"]
			tea_branches("DELETE", path, [read_body({"/branch": branch, "/new_branch": "feature"})]) == []
		}
		tea_branches("POST", "api/v1/repos/acme/app/merge-upstream", [read_body({"/branch": branch})]) == ["gitea_branch", "gitea_merge"]
		tea_branches("POST", "api/v1/repos/acme/app/branches", [read_body({"/new_branch_name": branch})]) == ["gitea_branch"]
		tea_branches("DELETE", $"api/v1/repos/acme/app/branches/{branch}", []) == ["gitea_branch"]
		tea_branches("PATCH", $"api/v1/repos/acme/app/branches/{branch}", []) == ["gitea_branch"]
	}
	tea_branches("POST", "api/v1/repos/acme/app/contents/a", [read_body({"/branch": "feature"})]) == []
	tea_branches("POST", "api/v1/repos/acme/app/branches", [read_body({"/new_branch_name": "feature"})]) == []
	tea_branches("POST", "api/v1/repos/acme/app/merge-upstream", [read_body({"/branch": "feature"})]) == ["gitea_merge"]
	tea_branches("PUT", "api/v1/repos/acme/app/branches/feature/x", []) == []
	tea_branches("GET", "api/v1/repos/acme/app/branches/main", []) == []
	tea_branches("PATCH", "api/v1/repos/acme/app/branches", []) == []
}

test_a_gitea_branch_that_nobody_names_may_be_protected if {
	tea_branches("POST", "api/v1/repos/acme/app/contents/a", [read_body({})]) == ["gitea_branch"]
	tea_branches("POST", "api/v1/repos/acme/app/contents/a", [unread_body]) == ["gitea_branch"]
	tea_branches("POST", "api/v1/repos/acme/app/contents/a", [read_body({"/branch": 7})]) == ["gitea_branch"]
	tea_branches("POST", "api/v1/repos/acme/app/branches", [read_body({})]) == ["gitea_branch"]
	tea_branches("POST", "api/v1/repos/acme/app/merge-upstream", [read_body({})]) == ["gitea_branch", "gitea_merge"]
	tea_branches("POST", "acme/app/git-receive-pack", []) == ["gitea_branch"]
	tea_branches("POST", "acme/app/git-upload-pack", []) == []
	tea_branches("POST", "api/v1/repos/acme/app/contents/a", [set_to("/asked", "list")]) == []
	tea("POST", "acme/app/git-receive-pack") == []
	tea("POST", "api/v1/repos/acme/app/contents/a") == []
}
