# METADATA
# description: |
#   What no agent does at Slack, whatever the rows say, unless the table guards leaves it to agents: administer the
#   workspace and its apps, and share with other organisations or the public. The name of the method says what it does;
#   GET and POST mean the same.
package deputy.providers.slack

import future.keywords.not

import data.deputy.lib

deny contains {"code": "slack_protected", "msg": "agents do not administer the workspace, its apps or its user groups"} if {
	protected
	not lib.guard_lifted("access")
}

deny contains {"code": "slack_share", "msg": "agents do not share with other organisations or the public"} if {
	shares
	not lib.guard_lifted("share")
}

method := lower(input.request.segments[1]) if lower(input.request.segments[0]) == "api"

protected if {
	some family in ["admin.", "apps.", "oauth.", "openid.", "rtm.", "scim.", "tooling.", "workflows."]
	startswith(method, family)
}

protected if method in [
	"auth.revoke", "conversations.kick", "team.externalteams.disconnect", "usergroups.create", "usergroups.disable",
	"usergroups.enable", "usergroups.update", "usergroups.users.update",
]

shares if {
	startswith(method, "conversations.")
	contains(method, "shared")
	not endswith(method, ".deny")
	not startswith(method, "conversations.declineshared")
	not endswith(method, ".list")
}

shares if method in [
	"canvases.access.set", "conversations.externalinvitepermissions.set", "files.remote.share", "files.sharedpublicurl",
	"slacklists.access.set",
]
