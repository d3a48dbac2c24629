# METADATA
# description: |
#   What no agent does at GitHub, whatever the tables say, and what it does only where the table guards
#   says so. It asks the path that will be sent and not the catalogue, in lower case because GitHub does
#   not tell A from a, and knows the numeric names (/repositories/{id}, /organizations/{id}) and the
#   prefix of GitHub Enterprise Server besides the usual ones.
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

deny contains {"code": "github_approve", "msg": "agents do not approve what waits for a person"} if {
	not lib.reads(input.request.method)
	approves
	not lib.guard_lifted("approve")
}

deny contains {"code": "github_merge", "msg": "agents do not merge"} if {
	not lib.reads(input.request.method)
	merges
	not lib.guard_lifted("merge")
}

deny contains {"code": "github_force_push", "msg": "agents do not rewrite or delete what branches and tags hold"} if {
	not lib.reads(input.request.method)
	forces
	not lib.guard_lifted("force_push")
}

deny contains {"code": "github_branch", "msg": "agents do not write to the branches that the tables protect"} if {
	not lib.reads(input.request.method)
	lib.branches_listed
	some branch in writes_to
	not branch_free(branch)
	not lib.listing
}

# GraphQL reaches everything through one path: only a call that was read as GraphQL may take it.
deny contains {"code": "github_graphql", "msg": "the call was not read as GraphQL"} if {
	not input.operation.kind == "graphql"
	graphql_path(input.request.segments)
}

# Asked of every call: a look at its beginning costs least.
graphql_path(segments) if {
	lower(segments[0]) == "graphql"
} else if {
	lower(segments[0]) == "api"
	lower(segments[1]) == "graphql"
}

sent := [lower(segment) | some segment in input.request.segments]

# A server of one's own has the same paths below /api/v3.
path := array.slice(sent, 2, count(sent)) if {
	array.slice(sent, 0, 2) == ["api", "v3"]
} else := sent

# What follows the name of the repository, of the organisation.
repo := array.slice(path, 3, count(path)) if path[0] == "repos"

repo := array.slice(path, 2, count(path)) if path[0] == "repositories"

org := array.slice(path, 2, count(path)) if path[0] in ["orgs", "organizations"]

# The one field of a mutation.
field := lower(input.operation.graphql.fields[0]) if input.operation.graphql.type == "mutation"

# --- repositories ------------------------------------------------------------------------------------

repo_gone if {
	input.request.method == "DELETE"
	repo in [[], [""]]
}

repo_gone if repo[0] == "transfer"

# An organisation takes its repositories along.
repo_gone if {
	input.request.method == "DELETE"
	org in [[], [""]]
}

# --- secrets, keys, hooks, access, and the rules that keep others out ----------------------------------

protected if {
	repo[0] in [
		"keys", "hooks", "collaborators", "invitations", "environments", "rulesets", "properties", "interaction-limits",
		"branches", "vulnerability-alerts", "automated-security-fixes", "private-vulnerability-reporting",
		"immutable-releases",
	]
}

protected if array.slice(repo, 0, 2) == ["tags", "protection"]

protected if {
	repo[0] in keepers
	repo[1] in kept
}

# Defaults of all members, teams, apps, rules: beside its repositories, nothing of an organisation is an agent's to change.
protected if {
	org
	not org[0] in ["repos", "projects", "projectsv2", "packages", "public_members"]
}

protected if path[0] in ["teams", "enterprises", "scim", "app", "applications", "installation", "admin", "setup", "manage"]

protected if {
	path[0] == "user"
	path[1] in [
		"keys", "gpg_keys", "ssh_signing_keys", "emails", "email", "repository_invitations", "memberships",
		"installations", "blocks", "interaction-limits",
	]
}

protected if {
	path[0] == "user"
	path[1] == "codespaces"
	path[2] == "secrets"
}

protected if {
	some part in [
		"branchprotection", "ruleset", "deploykey", "environment", "collaborator", "enterprise", "ipallowlist",
		"organization", "membership", "invitation", "verifiabledomain", "customproperty", "team", "blockuser",
	]
	contains(field, part)
}

keepers := ["actions", "agents", "codespaces", "dependabot"]

kept := ["secrets", "variables", "runners", "permissions", "oidc"]

# --- which branches a call writes to; null: nobody can tell ------------------------------------------

branch_free(branch) if {
	is_string(branch)
	not lib.branch_protected(branch)
}

# Without a name it is the default branch, whatever that is.
writes_to contains object.get(json, "/branch", null) if repo[0] in ["contents", "merge-upstream"]

writes_to contains object.get(json, "/base", null) if repo[0] == "merges"

writes_to contains branch_of(object.get(json, "/ref", null)) if creates_ref

writes_to contains concat("/", array.slice(repo, 3, count(repo))) if array.slice(repo, 0, 3) == ["git", "refs", "heads"]

writes_to contains object.get(said, "/input/branch/branchName", null) if field == "createcommitonbranch"

writes_to contains object.get(said, "/input/base", null) if field == "mergebranch"

writes_to contains branch_of(object.get(said, "/input/name", null)) if field == "createref"

# They name a ref by its id.
writes_to contains null if field in ["updateref", "updaterefs", "deleteref"]

# A tag, or another ref, is no branch and has no answer; what was not read may be one.
branch_of(ref) := trim_prefix(ref, "refs/heads/") if {
	startswith(ref, "refs/heads/")
} else := null if {
	not startswith(ref, "refs/")
}

json := object.get(input.request.body, "json", {})

said := object.get(input.operation.graphql, "arguments", {})

# --- what a person may leave to agents, by the table guards --------------------------------------------

# What stands in the body counts only where it was read: all but a review that says nothing is taken for a yes.
approves if {
	review
	input.request.method == "POST"
	not lib.says("/event", ["COMMENT", "REQUEST_CHANGES"])
	not pending
}

# Taking back what somebody else refused is a yes too.
approves if {
	review
	repo[4] == "dismissals"
}

approves if {
	repo[0] == "actions"
	repo[1] == "runs"
	repo[3] in ["approve", "pending_deployments", "deployment_protection_rule"]
}

approves if field in ["addpullrequestreview", "submitpullrequestreview", "dismisspullrequestreview", "approvedeployments"]

review if {
	repo[0] == "pulls"
	repo[2] == "reviews"
}

# Only the row pulls.createReview of the catalogue is known to look for the event.
pending if {
	input.operation.id == "pulls.createReview"
	count(repo) == 3
	lib.says_nothing("/event")
}

# There is more than one way to do it (merge, merge-async), and others may come.
merges if {
	repo[0] == "pulls"
	startswith(repo[2], "merge")
}

merges if startswith(repo[0], "merge")

merges if startswith(field, "merge")

merges if field in ["enablepullrequestautomerge", "enqueuepullrequest"]

forces if {
	array.slice(repo, 0, 2) == ["git", "refs"]
	not creates_ref
	not forward
}

forces if field in ["updateref", "updaterefs", "deleteref"]

creates_ref if {
	input.request.method == "POST"
	repo == ["git", "refs"]
}

# Only the row git.updateRef of the catalogue is known to look for force.
forward if {
	input.request.method == "PATCH"
	lib.says("/force", [false])
}

forward if {
	input.request.method == "PATCH"
	input.operation.id == "git.updateRef"
	lib.says_nothing("/force")
}
