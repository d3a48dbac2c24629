package deputy_test

gh(method, path) := row_codes(wide, call(method, path))

test_repositories_stay if {
	every path in ["repos/acme/app", "repos/acme/app/", "repositories/17", "Repos/acme/app"] {
		gh("DELETE", path) == ["github_repo_delete"]
		gh("PATCH", path) == []
	}
	gh("POST", "repos/acme/app/transfer") == ["github_repo_delete"]
	gh("DELETE", "repos/acme/app/issues/comments/9") == []
}

test_secrets_keys_hooks_and_access_stay if {
	every path in [
		"repos/acme/app/keys", "repos/acme/app/hooks/1", "repos/acme/app/Collaborators/bob",
		"repositories/17/invitations/3", "repos/acme/app/actions/secrets/A", "repos/acme/app/dependabot/secrets/A",
		"repositories/17/environments/prod/secrets/A", "orgs/acme/hooks", "orgs/acme/memberships/bob",
		"orgs/acme/actions/secrets/A", "orgs/acme/teams/t/repos/acme/app", "teams/4/members/bob",
		"user/keys", "user/codespaces/secrets/A",
	] {
		every method in ["POST", "PUT", "PATCH", "DELETE", "LINK"] {
			gh(method, path) == ["github_protected"]
		}
		gh("GET", path) == []
		gh("HEAD", path) == []
	}
}

test_a_file_may_be_called_hooks if {
	gh("PUT", "repos/acme/app/contents/keys/hooks/secrets") == []
	gh("PUT", "repos/acme/hooks/contents/a") == []
	gh("POST", "repos/keys/secrets/issues") == []
}

test_graphql_must_be_read_as_graphql if {
	gh("POST", "graphql") == ["github_graphql"]
	row_codes(wide, array.concat(call("POST", "GraphQL"), read_graphql)) == []
}
