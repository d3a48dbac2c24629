package deputy_test

gh(method, path) := row_codes(wide, call(method, path))

test_repositories_stay if {
	every path in ["repos/acme/app", "repos/acme/app/", "repositories/17", "Repos/acme/app"] {
		gh("DELETE", path) == ["github_repo_delete"]
		gh("PATCH", path) == []
	}
	gh("POST", "repos/acme/app/transfer") == ["github_repo_delete"]
	gh("GET", "repos/acme/app/transfer") == []
	gh("DELETE", "repos/acme/app/issues/comments/9") == []
	every path in ["orgs/acme", "orgs/acme/", "organizations/9"] {
		"github_repo_delete" in gh("DELETE", path)
	}
}

test_a_server_of_ones_own_has_a_prefix if {
	gh("DELETE", "api/v3/repos/acme/app") == ["github_repo_delete"]
	gh("PUT", "API/V3/user/emails") == ["github_protected"]
	gh("POST", "api/graphql") == ["github_graphql"]
	gh("POST", "x/graphql") == []
	gh("POST", "api/x") == []
	gh("POST", "api/v3/repos/acme/app/issues") == []
}

test_secrets_keys_hooks_and_access_stay if {
	every path in [
		"repos/acme/app/keys", "repos/acme/app/hooks/1", "repos/acme/app/Collaborators/bob",
		"repositories/17/invitations/3", "repos/acme/app/actions/secrets/A", "repos/acme/app/dependabot/secrets/A",
		"repositories/17/environments/prod/secrets/A", "orgs/acme/hooks", "orgs/acme/memberships/bob",
		"orgs/acme/actions/secrets/A", "orgs/acme/teams/t/repos/acme/app", "teams/4/members/bob",
		"user/keys", "user/codespaces/secrets/A", "user/emails", "user/email/visibility", "user/memberships/orgs/acme",
		"user/installations/3/repositories/17", "repos/acme/app/branches/main/protection",
		"repos/acme/app/branches/release/1/protection/required_status_checks", "repos/acme/app/rulesets/4",
		"repos/acme/app/tags/protection/4", "repos/acme/app/actions/variables/A", "repos/acme/app/actions/runners/3",
		"repos/acme/app/actions/permissions", "repos/acme/app/environments/prod", "organizations/9/memberships/bob",
		"orgs/acme/teams", "orgs/acme/rulesets", "orgs/acme/actions/variables/A", "orgs/acme/blocks/bob",
		"orgs/acme/personal-access-token-requests/3", "enterprises/e/actions/permissions", "scim/v2/organizations/acme/Users",
		"applications/abc/grant", "admin/users", "app/hook/config", "installation/token", "setup/api/start", "manage/v1/config",
		"repos/acme/app/properties/values", "repos/acme/app/interaction-limits", "repos/acme/app/vulnerability-alerts",
		"repos/acme/app/automated-security-fixes", "repos/acme/app/private-vulnerability-reporting",
		"repos/acme/app/immutable-releases", "repos/acme/app/codespaces/secrets/A", "repos/acme/app/agents/secrets/A",
		"repos/acme/app/actions/oidc/customization/sub", "user/gpg_keys", "user/ssh_signing_keys/3",
		"user/repository_invitations/3", "user/blocks/bob", "user/interaction-limits",
	] {
		every method in ["POST", "PUT", "PATCH", "DELETE", "LINK"] {
			gh(method, path) == ["github_protected"]
		}
		gh("GET", path) == []
		gh("HEAD", path) == []
		gh("PUT", sprintf("api/v3/%s", [path])) == ["github_protected"]
	}
}

test_a_file_may_be_called_hooks if {
	gh("PUT", "repos/acme/app/contents/keys/hooks/secrets") == []
	gh("PUT", "repos/acme/hooks/contents/a") == []
	gh("POST", "repos/keys/secrets/issues") == []
	gh("POST", "repos/acme/app/contents/secrets") == []
	gh("POST", "repos/acme/app/tags/x") == []
	every path in ["repos", "projects", "projectsV2", "packages", "public_members"] {
		gh("POST", $"orgs/acme/{path}") == []
	}
	every path in ["x/codespaces/secrets", "user/x/secrets", "user/codespaces/x"] {
		gh("POST", path) == []
	}
	gh("PATCH", "orgs/acme/") == ["github_protected"]
	gh("POST", "repos/acme/app/actions/runs/3/cancel") == []
	gh("PATCH", "orgs/acme") == ["github_protected"]
}

test_graphql_must_be_read_as_graphql if {
	gh("POST", "graphql") == ["github_graphql"]
	row_codes(wide, array.concat(call("POST", "GraphQL"), read_graphql)) == []
}

body(value) := [set_to("/request/body", {"state": "parsed", "bytes": 64, "json": value})]

named(id) := [set_to("/operation/id", id)]

# What the guard says to a call whose body says that.
told(method, path, ops) := row_codes(wide, array.concat(call(method, path), ops))

lifted(name, method, path, ops) := [r.code | some r in d.reasons] if {
	d := row_decision(wide, array.concat(call(method, path), ops)) with data.deputy_data.guards.github as {name: true}
}

reviews := "repos/acme/app/pulls/7/reviews"

test_agents_do_not_approve if {
	told("POST", reviews, body({"/event": "APPROVE"})) == ["github_approve"]
	told("POST", "repos/acme/app/pulls/7/reviews/3/events", body({"/event": "APPROVE"})) == ["github_approve"]
	every path in [
		"pulls/7/reviews/3/dismissals", "actions/runs/3/approve", "actions/runs/3/pending_deployments",
		"actions/runs/3/deployment_protection_rule",
	] {
		told("PUT", sprintf("repos/acme/app/%s", [path]), []) == ["github_approve"]
		told("GET", sprintf("repos/acme/app/%s", [path]), []) == []
	}
	every path in [
		"issues/7/reviews/3/dismissals", "x/runs/3/approve", "actions/x/3/approve", "issues/7/reviews", "pulls/7/comments",
	] {
		told("POST", sprintf("repos/acme/app/%s", [path]), []) == []
	}
	told("GET", reviews, []) == []
}

test_agents_review_without_approving if {
	every event in ["COMMENT", "REQUEST_CHANGES"] {
		told("POST", reviews, body({"/event": event})) == []
	}
	told("PUT", "repos/acme/app/pulls/7/reviews/3", []) == []
	told("POST", reviews, array.concat(named("pulls.createReview"), body({}))) == []
	told("POST", reviews, named("pulls.createReview")) == []
}

test_a_review_that_was_not_read_is_taken_for_a_yes if {
	told("POST", reviews, body({})) == ["github_approve"]
	told("POST", reviews, body({"/event": ["COMMENT"]})) == ["github_approve"]
	told("POST", reviews, array.concat(named("pulls.createReview"), body({"/event": "approve"}))) == ["github_approve"]
	unread := [set_to("/request/body", {"state": "unparsed", "bytes": 64, "json": {"/event": "COMMENT"}})]
	told("POST", reviews, array.concat(named("pulls.createReview"), unread)) == ["github_approve"]
	submitted := array.concat(named("pulls.createReview"), body({}))
	told("POST", "repos/acme/app/pulls/7/reviews/3/events", submitted) == ["github_approve"]
}

test_agents_do_not_merge if {
	gh("PUT", "repos/acme/app/pulls/7/merge") == ["github_merge"]
	gh("PUT", "repos/acme/app/pulls/7/Merge-Async") == ["github_merge"]
	gh("POST", "repositories/17/merges") == ["github_merge"]
	gh("POST", "repos/acme/app/merge-upstream") == ["github_merge"]
	gh("GET", "repos/acme/app/pulls/7/merge") == []
	gh("PUT", "repos/acme/app/pulls/7/update-branch") == []
	gh("PUT", "repos/acme/app/issues/7/merge") == []
}

refs := "repos/acme/app/git/refs/heads/main"

test_agents_do_not_force if {
	update := named("git.updateRef")
	told("PATCH", refs, array.concat(update, body({"/force": true}))) == ["github_force_push"]
	told("PATCH", refs, array.concat(update, body({"/force": "false"}))) == ["github_force_push"]
	told("PATCH", refs, body({})) == ["github_force_push"]
	told("POST", refs, array.concat(update, body({"/force": false}))) == ["github_force_push"]
	told("DELETE", refs, array.concat(update, body({"/force": false}))) == ["github_force_push"]
	told("PATCH", refs, array.concat(update, body({}))) == []
	told("DELETE", refs, array.concat(update, body({}))) == ["github_force_push"]
	told("PATCH", "repos/acme/app/git/refs", []) == ["github_force_push"]
	told("GET", refs, []) == []
	told("PATCH", refs, body({"/force": false})) == []
	gh("POST", "repos/acme/app/git/refs") == []
}

test_the_table_guards_leaves_it_to_agents_one_by_one if {
	lifted("approve", "POST", reviews, body({"/event": "APPROVE"})) == []
	lifted("merge", "PUT", "repos/acme/app/pulls/7/merge", []) == []
	lifted("force_push", "DELETE", refs, []) == []
	lifted("approve", "PUT", "repos/acme/app/pulls/7/merge", []) == ["github_merge"]
	lifted("merge", "DELETE", refs, []) == ["github_force_push"]
	lifted("force_push", "DELETE", "repos/acme/app", []) == ["github_repo_delete"]
}

mutation(name) := told("POST", "graphql", [
	set_to("/request/body", {"state": "parsed", "bytes": 64, "json": {}}),
	set_to("/operation", {
		"id": "x.y",
		"kind": "graphql",
		"access": "write",
		"required_scopes": [],
		"graphql": {"type": "mutation", "name": "", "fields": [name], "depth": 2},
	}),
])

test_graphql_is_refused_the_same if {
	mutation("addComment") == []
	every name in ["mergePullRequest", "enqueuePullRequest", "enablePullRequestAutoMerge"] {
		mutation(name) == ["github_merge"]
	}
	every name in ["addPullRequestReview", "submitPullRequestReview", "dismissPullRequestReview", "approveDeployments"] {
		mutation(name) == ["github_approve"]
	}
	every name in ["updateRef", "updateRefs", "deleteRef"] {
		mutation(name) == ["github_force_push"]
	}
	every name in [
		"createBranchProtectionRule", "UpdateEnvironment", "updateEnterpriseProfile", "createRepositoryRuleset",
		"createDeployKey", "addCollaborator", "createIpAllowListEntry", "updateOrganization", "publicizeMembership",
		"cancelInvitation", "verifyVerifiableDomain", "setCustomPropertyValues", "updateTeamReviewAssignment", "blockUser",
	] {
		mutation(name) == ["github_protected"]
	}
}

# --- branches that the tables protect ----------------------------------------------------------------

protected_branches(method, path, ops) := [r.code | some r in d.reasons] if {
	d := row_decision(wide, array.concat(call(method, path), ops))
		with data.deputy_data.guards.github as {"branches": ["main", "release/*", "hot/fix"], "merge": true, "force_push": true}
}

test_protected_branches_are_not_written_to if {
	every branch in ["main", "Main", "release/1.2", "release/", "hot/fix"] {
		protected_branches("PUT", "repos/acme/app/contents/a", body({"/branch": branch})) == ["github_branch"]
		protected_branches("DELETE", "repos/acme/app/contents/a/b", body({"/branch": branch})) == ["github_branch"]
		protected_branches("POST", "repositories/17/merge-upstream", body({"/branch": branch})) == ["github_branch"]
		protected_branches("POST", "repos/acme/app/merges", body({"/base": branch})) == ["github_branch"]
		protected_branches("PATCH", $"repos/acme/app/git/refs/heads/{branch}", body({"/force": false})) == ["github_branch"]
		protected_branches("DELETE", $"api/v3/repos/acme/app/git/refs/heads/{branch}", []) == ["github_branch"]
		protected_branches("POST", "repos/acme/app/git/refs", body({"/ref": $"refs/heads/{branch}"})) == ["github_branch"]
	}
	every branch in ["feature", "maintenance", "x/main", "releases", ""] {
		protected_branches("PUT", "repos/acme/app/contents/a", body({"/branch": branch})) == []
		protected_branches("POST", "repos/acme/app/merges", body({"/base": branch})) == []
		protected_branches("PATCH", $"repos/acme/app/git/refs/heads/{branch}", body({"/force": false})) == []
		protected_branches("POST", "repos/acme/app/git/refs", body({"/ref": $"refs/heads/{branch}"})) == []
	}
}

test_a_branch_that_nobody_names_may_be_protected if {
	every members in [{}, {"/branch": null}, {"/branch": ["feature"]}] {
		protected_branches("PUT", "repos/acme/app/contents/a", body(members)) == ["github_branch"]
	}
	protected_branches("PUT", "repos/acme/app/contents/a", []) == ["github_branch"]
	protected_branches("POST", "repos/acme/app/merge-upstream", body({})) == ["github_branch"]
	protected_branches("POST", "repos/acme/app/merges", body({"/head": "feature"})) == ["github_branch"]
	every ref in ["main", "heads/main", "feature", null] {
		protected_branches("POST", "repos/acme/app/git/refs", body({"/ref": ref})) == ["github_branch"]
	}
	protected_branches("POST", "repos/acme/app/git/refs", body({})) == ["github_branch"]
	protected_branches("PUT", "repos/acme/app/contents/a", [set_to("/asked", "list")]) == []
}

test_what_is_no_branch_is_not_protected if {
	protected_branches("POST", "repos/acme/app/git/refs", body({"/ref": "refs/tags/main"})) == []
	protected_branches("PATCH", "repos/acme/app/git/refs/tags/main", body({"/force": false})) == []
	tag := body({"/ref": "refs/tags/v1"})
	protected_branches("POST", "repos/acme/app/git/refs", tag) == [] with data.deputy_data.guards.base as {"branches": ["*"]}
	protected_branches("GET", "repos/acme/app/contents/a", []) == []
	protected_branches("POST", "repos/acme/app/issues", []) == []
	gh("PUT", "repos/acme/app/contents/a") == []
}

branch_mutation(name, arguments) := protected_branches("POST", "graphql", [
	set_to("/request/body", {"state": "parsed", "bytes": 64, "json": {}}),
	set_to("/operation", {
		"id": "x.y",
		"kind": "graphql",
		"access": "write",
		"required_scopes": [],
		"graphql": {"type": "mutation", "name": "", "fields": [name], "depth": 2, "arguments": arguments},
	}),
])

test_protected_branches_are_not_written_to_by_graphql if {
	branch_mutation("createCommitOnBranch", {"/input/branch/branchName": "main"}) == ["github_branch"]
	branch_mutation("createCommitOnBranch", {"/input/branch/branchName": "feature"}) == []
	branch_mutation("createCommitOnBranch", {}) == ["github_branch"]
	branch_mutation("mergeBranch", {"/input/base": "release/2"}) == ["github_branch"]
	branch_mutation("mergeBranch", {"/input/base": "feature"}) == []
	branch_mutation("mergeBranch", {}) == ["github_branch"]
	branch_mutation("createRef", {"/input/name": "refs/heads/main"}) == ["github_branch"]
	branch_mutation("createRef", {"/input/name": "refs/heads/feature"}) == []
	branch_mutation("createRef", {"/input/name": "refs/tags/main"}) == []
	branch_mutation("createRef", {}) == ["github_branch"]
	every name in ["updateRef", "updateRefs", "deleteRef"] {
		branch_mutation(name, {}) == ["github_branch"]
	}
	branch_mutation("addComment", {}) == []
}
