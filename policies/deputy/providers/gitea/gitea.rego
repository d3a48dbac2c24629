# METADATA
# description: |
#   What no agent does at Gitea, whatever the tables say, and what it does only where the table guards
#   says so. It asks the path that will be sent and not the catalogue, in lower case because Gitea does
#   not tell owner A from a.
package deputy.providers.gitea

import future.keywords.not

import data.deputy.lib

deny contains {"code": "gitea_repo_delete", "msg": "agents do not delete or give away repositories"} if {
	not lib.reads(input.request.method)
	repo_gone
}

deny contains {"code": "gitea_protected", "msg": "agents do not change secrets, keys, hooks or who has access"} if {
	not lib.reads(input.request.method)
	protected
}

deny contains {"code": "gitea_approve", "msg": "agents do not approve what waits for a person"} if {
	not lib.reads(input.request.method)
	approves
	not lib.guard_lifted("approve")
}

deny contains {"code": "gitea_merge", "msg": "agents do not merge"} if {
	not lib.reads(input.request.method)
	merges
	not lib.guard_lifted("merge")
}

deny contains {"code": "gitea_branch", "msg": "agents do not write to the branches that the tables protect"} if {
	not lib.reads(input.request.method)
	lib.branches_listed
	some branch in writes_to
	not branch_free(branch)
	not lib.listing
}

path := [lower(segment) | some segment in input.request.segments]

# What follows /api/v1. A fetch is a POST that changes nothing: it lies outside.
api := array.slice(path, 2, count(path)) if array.slice(path, 0, 2) == ["api", "v1"]

# What follows the name of the repository.
repo := array.slice(api, 3, count(api)) if api[0] == "repos"

repo_gone if {
	input.request.method == "DELETE"
	repo in [[], [""]]
}

repo_gone if repo[0] == "transfer"

# An organisation takes its repositories along.
repo_gone if {
	input.request.method == "DELETE"
	api[0] == "orgs"
	array.slice(api, 2, count(api)) in [[], [""]]
}

protected if api[0] == "admin"

protected if repo[0] in ["keys", "hooks", "collaborators", "teams", "push_mirrors", "branch_protections", "tag_protections"]

protected if {
	repo[0] == "actions"
	repo[1] in keepers
}

protected if {
	api[0] == "orgs"
	api[2] in ["hooks", "members", "teams", "blocks"]
}

protected if {
	api[0] in ["orgs", "user"]
	"actions" in [api[1], api[2]]
}

protected if {
	api[0] == "teams"
	api[2] in ["members", "repos"]
}

protected if {
	api[0] == "user"
	api[1] in ["keys", "gpg_keys", "hooks", "applications", "emails"]
}

protected if {
	api[0] == "users"
	api[2] == "tokens"
}

keepers := ["secrets", "variables", "runners"]

# --- which branches a call writes to; null: nobody can tell ------------------------------------------

branch_free(branch) if {
	is_string(branch)
	not lib.branch_protected(branch)
}

# A commit goes to new_branch where that is said, else to branch, else to the default branch, whatever that is.
writes_to contains object.get(json, "/new_branch", object.get(json, "/branch", null)) if {
	repo[0] in ["contents", "diffpatch"]
}

writes_to contains object.get(json, "/branch", null) if repo[0] == "merge-upstream"

writes_to contains object.get(json, "/new_branch_name", null) if {
	repo == ["branches"]
	input.request.method == "POST"
}

writes_to contains concat("/", array.slice(repo, 1, count(repo))) if repo[0] == "branches"

# A pack is not read.
writes_to contains null if path[count(path) - 1] == "git-receive-pack"

json := object.get(input.request.body, "json", {})

# --- what a person may leave to agents, by the table guards --------------------------------------------

# What stands in the body counts only where it was read: all but a review that says nothing is taken for a yes.
approves if {
	review
	input.request.method == "POST"
	not lib.says("/event", ["COMMENT", "REQUEST_CHANGES", "PENDING"])
	not pending
}

# Taking back what somebody else refused is a yes too, and so is bringing back a yes.
approves if {
	review
	repo[4] in ["dismissals", "undismissals"]
}

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

# A DELETE takes back a merge that waits.
merges if {
	input.request.method != "DELETE"
	repo[0] == "pulls"
	startswith(repo[2], "merge")
}

merges if startswith(repo[0], "merge")
