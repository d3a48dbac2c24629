package deputy_test

slack(name, ops) := wide_at("slack", "slack.com", array.concat(call("POST", sprintf("api/%s", [name])), ops))

slack_by_get(name) := wide_at("slack", "slack.com", call("GET", sprintf("api/%s", [name])))

slack_lifted(guard, name) := c if {
	c := slack(name, []) with data.deputy_data.guards.slack as {guard: true}
}

test_slack_is_administered_by_people if {
	every name in [
		"admin.users.invite", "Admin.users.list", "apps.uninstall", "oauth.v2.access", "openid.connect.token", "rtm.connect",
		"scim.users", "tooling.tokens.rotate", "workflows.featured.set", "auth.revoke", "conversations.kick",
		"team.externalTeams.disconnect", "usergroups.create", "usergroups.disable", "usergroups.enable", "usergroups.update",
		"usergroups.users.update",
	] {
		slack(name, []) == ["slack_protected"]
		slack_by_get(name) == ["slack_protected"]
		slack_lifted("access", name) == []
		slack_lifted("share", name) == ["slack_protected"]
	}
}

test_slack_is_not_shared_with_others if {
	every name in [
		"conversations.inviteShared", "conversations.acceptSharedInvite", "conversations.approveSharedInvite",
		"conversations.requestSharedInvite.approve", "conversations.externalInvitePermissions.set", "files.remote.share",
		"files.sharedPublicURL", "canvases.access.set", "slackLists.access.set",
	] {
		slack(name, []) == ["slack_share"]
		slack_by_get(name) == ["slack_share"]
		slack_lifted("share", name) == []
		slack_lifted("access", name) == ["slack_share"]
	}
}

test_slack_people_write_to_each_other if {
	every name in [
		"chat.postMessage", "conversations.invite", "conversations.list", "conversations.declineSharedInvite",
		"conversations.requestSharedInvite.deny", "conversations.requestSharedInvite.list", "team.info", "usergroups.list",
		"auth.test", "files.revokePublicURL", "administer", "shared.list", "files.shared", "conversations.listConnectInvites",
	] {
		slack(name, []) == []
	}
	wide_at("slack", "files.slack.com", call("POST", "upload/v1/admin.x")) == []
}
