# METADATA
# description: |
#   What no agent does at GitHub, whatever the tables say. It asks the path that will be sent and
#   not the catalogue, in lower case because GitHub does not tell A from a, and knows the numeric
#   name of a repository (/repositories/{id}) besides the usual one.
package deputy.providers.github

import future.keywords.not

import data.deputy.lib

deny contains {"code": "github_repo_delete", "msg": "agents do not delete or give away repositories"} if {
	not lib.reads(input.request.method)
	repo_gone
}

deny contains {"code": "github_protected", "msg": "agents do not change secrets, keys, hooks or who has access"} if {
	not lib.reads(input.request.method)
	protected
}

# GraphQL reaches everything through one path: only a call that was read as GraphQL may take it.
deny contains {"code": "github_graphql", "msg": "the call was not read as GraphQL"} if {
	lower(input.request.segments[0]) == "graphql"
	not input.operation.kind == "graphql"
}

path := [lower(segment) | some segment in input.request.segments]

# What follows the name of the repository.
repo := array.slice(path, 3, count(path)) if path[0] == "repos"

repo := array.slice(path, 2, count(path)) if path[0] == "repositories"

repo_gone if {
	input.request.method == "DELETE"
	repo in [[], [""]]
}

repo_gone if repo[0] == "transfer"

protected if repo[0] in ["keys", "hooks", "collaborators", "invitations"]

protected if {
	repo[0] == "environments"
	repo[2] == "secrets"
}

protected if {
	repo[0] in secret_keepers
	repo[1] == "secrets"
}

protected if {
	path[0] == "orgs"
	path[2] in ["hooks", "invitations", "members", "memberships", "outside_collaborators"]
}

protected if {
	path[0] == "orgs"
	path[2] in secret_keepers
	path[3] == "secrets"
}

protected if {
	path[0] == "orgs"
	path[2] == "teams"
	path[4] in team_access
}

protected if {
	path[0] == "teams"
	path[2] in team_access
}

protected if {
	path[0] == "user"
	path[1] in ["keys", "gpg_keys", "ssh_signing_keys", "repository_invitations"]
}

protected if {
	path[0] == "user"
	path[1] == "codespaces"
	path[2] == "secrets"
}

secret_keepers := ["actions", "agents", "codespaces", "dependabot"]

team_access := ["invitations", "members", "memberships", "repos"]
