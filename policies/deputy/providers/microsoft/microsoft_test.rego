package deputy_test

graph(method, path, ops) := wide_at("microsoft", "graph.microsoft.com", array.concat(call(method, sprintf("v1.0/%s", [path])), ops))

graph_inside(method, path, ops) := c if {
	c := graph(method, path, ops) with data.deputy_data.guards.microsoft as {"domains": ["example.com"]}
}

graph_lifted(name, method, path, ops) := c if {
	c := graph(method, path, ops) with data.deputy_data.guards.microsoft as {name: true}
}

test_microsoft_who_has_access_stays if {
	every path in [
		"applications/a", "servicePrincipals/s/appRoleAssignments", "directoryRoles/r/members/$ref", "roleManagement/directory/x",
		"users/u/appRoleAssignments", "me/authentication/methods/m", "groups/g/members/$ref", "groups/g/owners/$ref",
		"oauth2PermissionGrants", "invitations", "subscriptions", "domains", "organization/o", "users", "groups", "teams",
		"me/mailFolders/inbox/messageRules", "teams/t/channels/c/members", "chats/c/members", "users/u/assignLicense",
		"me/changePassword", "users/u/revokeSignInSessions", "users/u/manager/$ref", "users/u/sponsors/$ref", "DIRECTORYROLES/r",
		"deviceManagement/x", "users/u/invalidateAllRefreshTokens", "users/u/exportPersonalData", "users/u/directReports/$ref",
		"users/u/scopedRoleMemberOf", "groups/g/permissionGrants", "me/oauth2PermissionGrants", "groups/g/acceptedSenders/$ref",
	] {
		every method in ["POST", "PUT", "PATCH", "DELETE"] {
			graph(method, path, []) == ["microsoft_protected"]
			graph_lifted("access", method, path, []) == []
			graph_lifted("share", method, path, []) == ["microsoft_protected"]
		}
		graph("GET", path, []) == []
	}
	graph("DELETE", "users/u", []) == ["microsoft_protected"]
	every path in ["groups/g", "teams/t"] {
		graph("DELETE", path, []) == ["microsoft_protected"]
	}
	graph("PATCH", "groups/g", []) == ["microsoft_protected"]
	graph_lifted("access", "DELETE", "users/u", []) == []
}

test_microsoft_every_root_segment_and_act_that_is_named_stays if {
	every root in [
		"appcatalogs", "applications", "applicationtemplates", "auditlogs", "certificatebasedauthconfiguration",
		"connections", "contracts", "devicemanagement", "devices", "directory", "directoryobjects", "directoryroles",
		"directoryroletemplates", "domaindnsrecords", "domains", "groupsettings", "identity", "identitygovernance",
		"identityprotection", "identityproviders", "informationprotection", "invitations", "oauth2permissiongrants",
		"organization", "permissiongrants", "policies", "privacy", "rolemanagement", "schemaextensions",
		"scopedrolememberships", "security", "serviceprincipals", "subscriptions", "tenantrelationships",
	] {
		graph("POST", $"{root}/x", []) == ["microsoft_protected"]
		graph("POST", $"me/{root}x", []) == []
	}
	every segment in [
		"acceptedsenders", "allowedmembers", "approleassignedto", "approleassignments", "authentication", "channelmembers",
		"extensionproperties", "installedapps", "memberof", "members", "messagerules", "oauth2permissiongrants", "owners",
		"permissiongrants", "rejectedsenders", "retentionlabel", "scopedrolememberof", "subscriptions",
	] {
		graph("POST", $"groups/g/{segment}/x", []) == ["microsoft_protected"]
		graph("POST", $"groups/g/{segment}x", []) == []
	}
	every act in [
		"assignlicense", "changepassword", "exportpersonaldata", "invalidateallrefreshtokens",
		"reprocesslicenseassignment", "retryserviceprovisioning", "revokesigninsessions",
		"wipemanagedappregistrationsbydevicetag",
	] {
		graph("POST", $"users/u/{act}", []) == ["microsoft_protected"]
		graph("POST", $"users/u/{act}/x", []) == []
	}
}

test_microsoft_what_people_do_with_their_own if {
	every path in [
		"me/messages", "me/sendMail", "me/drive/items/i/children", "me/events", "teams/t/channels/c/messages",
		"users/u/contacts", "me/drive/items/i/copy", "chats/c/messages", "planner/tasks", "me/manager", "users/u/$ref",
		"teams/t/archive", "groups/g/photo", "chats/t", "me/manager/x", "groups/g",
	] {
		graph("POST", path, []) == []
	}
	graph("PATCH", "teams/t", []) == []
	graph("DELETE", "me/messages/m", []) == []
	graph("DELETE", "me/drive", []) == []
}

test_microsoft_how_a_person_signs_in_stays if {
	every row in [["me", "me.update"], ["users/u", "users.update"]] {
		[path, id] := row
		named_row := set_to("/operation/id", id)
		graph("PATCH", path, [named_row, read_body({})]) == []
		every field_name in [
			"accountEnabled", "ageGroup", "assignedLicenses", "businessPhones", "consentProvidedForMinor", "employeeType",
			"identities", "mail", "mailNickname", "mobilePhone", "onPremisesImmutableId", "otherMails", "passwordPolicies",
			"passwordProfile", "proxyAddresses", "usageLocation", "userPrincipalName", "userType",
		] {
			changed := [named_row, read_body({sprintf("/%s", [field_name]): null})]
			graph("PATCH", path, changed) == ["microsoft_admin_field"]
			graph_lifted("access", "PATCH", path, changed) == []
			graph_lifted("share", "PATCH", path, changed) == ["microsoft_admin_field"]
		}
		graph("PATCH", path, [named_row, unread_body]) == ["microsoft_admin_field"]
		graph("PATCH", path, [read_body({})]) == ["microsoft_admin_field"]
		graph("PUT", path, [named_row, read_body({})]) == ["microsoft_admin_field"]
		graph("GET", path, []) == []
	}
	graph("PATCH", "me/mailboxSettings", []) == []
	graph("PATCH", "users/u/presence", []) == []
}

test_microsoft_nothing_is_shared_outside if {
	link := "me/drive/items/i/createLink"
	every scope in ["anonymous", "users", "Organization", null] {
		graph("POST", link, [read_body({"/scope": scope})]) == ["microsoft_share"]
	}
	graph("POST", link, [read_body({})]) == ["microsoft_share"]
	graph("POST", link, [unread_body]) == ["microsoft_share"]
	graph("POST", link, [read_body({"/scope": "organization"})]) == []
	graph_lifted("share", "POST", link, []) == []
	graph_lifted("access", "POST", link, []) == ["microsoft_share"]
	every path in [
		"me/drive/items/i/permissions", "sites/s/permissions/p", "shares/s/permission", "me/calendars/c/calendarPermissions/p",
		"teams/t/channels/c/sharedWithTeams", "drives/d/list/items/i/permissions/p/grant",
	] {
		graph("POST", path, []) == ["microsoft_share"]
		graph("DELETE", path, []) == []
		graph("GET", path, []) == []
	}
}

to(emails) := read_body({"/recipients": [{"email": email} | some email in emails]})

test_microsoft_who_is_inside_may_be_invited_to_a_file if {
	path := "drives/d/items/i/invite"
	graph_inside("POST", path, [to(["bob@example.com", "eve@Example.com"])]) == []
	graph_inside("POST", path, [to(["bob@example.com"])]) == []
	graph_inside("POST", path, [read_body({"/recipients": {"a": {"email": "bob@example.com"}}})]) == ["microsoft_share"]
	every body in [to(["x@evil.example"]), to(["bob@example.com", "x@evil.example"]), to([]), read_body({}), unread_body] {
		graph_inside("POST", path, [body]) == ["microsoft_share"]
	}
	graph_inside("POST", path, [read_body({"/recipients": [{"email": "bob@example.com"}, {"objectId": "1"}]})]) == ["microsoft_share"]
	graph("POST", path, [to(["bob@example.com"])]) == ["microsoft_share"]
}

invited(emails) := read_body({"/attendees": [{"emailAddress": {"address": email}} | some email in emails]})

test_microsoft_nobody_outside_is_invited if {
	every path in ["me/events", "me/events/e", "users/u/calendars/c/events", "me/events/e/instances/i"] {
		every method in ["POST", "PATCH"] {
			graph_inside(method, path, [invited(["bob@example.com"])]) == []
			graph_inside(method, path, [invited(["bob@example.com", "x@evil.example"])]) == ["invitation_outside"]
			graph_inside(method, path, [invited([])]) == ["invitation_outside"]
			graph_inside(method, path, [read_body({})]) == []
			graph_inside(method, path, [unread_body]) == ["invitation_outside"]
			graph(method, path, [invited(["x@evil.example"])]) == []
		}
		graph_inside("DELETE", path, [unread_body]) == []
		graph_inside("GET", path, [unread_body]) == []
	}
	graph_inside("POST", "me/events", [read_body({"/attendees": [{"emailAddress": {"address": "bob@example.com"}}, {"type": "x"}]})]) == ["invitation_outside"]
	graph_inside("POST", "me/events", [read_body({"/attendees": {"a": {"emailAddress": {"address": "bob@example.com"}}}})]) == ["invitation_outside"]
	graph_inside("POST", "me/events/e/attachments", [unread_body]) == []
}

test_microsoft_mail_without_a_reader_goes_outside if {
	every path in [
		"me/sendMail", "users/u/sendMail", "me/messages/m/reply", "me/messages/m/replyAll", "me/messages/m/forward",
		"me/messages/m/send", "me/mailFolders/f/messages/m/send", "groups/g/threads", "groups/g/conversations",
		"groups/g/conversations/c/threads", "me/mailboxSettings", "users/u/mailboxSettings",
		"solutions/bookingBusinesses/b/appointments", "solutions/virtualEvents/webinars/w/registrations",
	] {
		graph_inside("POST", path, []) == ["recipient_outside"]
		graph_inside("POST", path, [mail_to(["example.com"])]) == []
		graph_inside("POST", path, [mail_to(["evil.example"])]) == ["recipient_outside"]
		graph_inside("POST", path, [set_to("/asked", "list")]) == []
		graph("POST", path, []) == []
	}
	graph_inside("POST", "me/messages/m/createReply", []) == []
	graph_inside("POST", "print/m/send", []) == []
	graph_inside("PATCH", "me/mailboxSettings", []) == ["recipient_outside"]
	every path in [
		"groups/g/threads", "me/mailboxSettings", "solutions/bookingBusinesses/b/appointments", "solutions/virtualEvents/x",
	] {
		graph_inside("GET", path, []) == []
	}
	graph_inside("PATCH", "groups/g/threads", []) == []
	every path in ["x/g/threads", "groups/g/x", "me/mailboxSettings/x", "solutions/backupRestore/x", "x/bookingBusinesses/b"] {
		graph_inside("POST", path, []) == []
	}
}
