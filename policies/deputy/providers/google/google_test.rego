package deputy_test

goog(method, path, ops) := wide_at("google", "www.googleapis.com", array.concat(call(method, path), ops))

# The same where the tables list who is inside.
goog_inside(method, path, ops) := c if {
	c := goog(method, path, ops) with data.deputy_data.guards.google as {"domains": ["example.com"]}
}

goog_lifted(name, method, path, ops) := c if {
	c := goog(method, path, ops) with data.deputy_data.guards.google as {name: true}
}

test_google_who_has_access_stays if {
	every path in [
		"gmail/v1/users/me/settings/delegates", "gmail/v1/users/me/settings/forwardingAddresses",
		"gmail/v1/users/me/settings/sendAs/x", "gmail/v1/users/me/settings/filters", "gmail/v1/users/me/settings/cse/keypairs",
		"gmail/v1/users/me/settings/autoForwarding", "gmail/v1/users/me/settings/imap", "Gmail/V1/users/me/settings/pop",
		"admin/directory/v1/users", "admin/directory/v1/groups/g/members", "gmail/v1/users/me/watch", "gmail/v1/users/me/stop",
		"calendar/v3/calendars/c/events/watch", "v1/forms/f/watches", "v1/forms/f/watches/w",
		"calendar/v3/calendars/c/transferOwnership", "drive/v3/drives", "drive/v3/drives/d", "drive/v3/teamdrives/d",
		"drive/v3/files/f/accessproposals/p:resolve", "v1/spaces/s/members", "v2/spaces/s/members:batchUpdate",
		"upload/gmail/v1/users/me/settings/delegates",
	] {
		every method in ["POST", "PUT", "PATCH", "DELETE"] {
			goog(method, path, []) == ["google_protected"]
			goog_lifted("access", method, path, []) == []
			goog_lifted("share", method, path, []) == ["google_protected"]
		}
		goog("GET", path, []) == []
		goog("HEAD", path, []) == []
	}
}

test_google_who_may_join_a_conference_stays if {
	goog("PATCH", "v2/spaces/s", []) == ["google_protected"]
	goog("POST", "v2/spaces", []) == []
	goog("PATCH", "v1/spaces/s", []) == []
	goog("PATCH", "v2/rooms/s", []) == []
}

test_google_what_people_do_with_their_own if {
	every path in [
		"gmail/v1/users/me/settings/vacation", "gmail/v1/users/me/labels", "gmail/v1/users/me/messages/send",
		"calendar/v3/calendars/c/events", "calendar/v3/calendars/c", "drive/v3/files", "drive/v3/files/f/comments",
		"docs/v3/files/f/permissions", "drive/v3/changes/c/permissions", "gmail/v1/users/me/x/filters", "x/v3/drives/d", "drive/v3/drives/d/hide", "drive/v3/teamdrives/d/unhide", "v1/spaces/s/messages", "v1/documents/d:batchUpdate",
		"drive/v3/files/permissions", "calendar/v3/calendars/acl", "drive/v3/changes/c/x/permissions", "v1/files/f/x/watches",
		"tasks/v3/calendars/c/acl", "calendar/v3/users/me/acl", "v1/rooms/s/members", "v1/spaces/s/remembers",
	] {
		goog("POST", path, [read_body({})]) == []
	}
}

permissions := "drive/v3/files/f/permissions"

test_google_a_file_is_not_shared_outside if {
	every members in [
		{"/type": "anyone", "/role": "reader"}, {"/type": "user", "/role": "reader", "/emailAddress": "x@evil.example"},
		{"/type": "domain", "/role": "reader", "/domain": "evil.example"}, {}, {"/type": "user", "/role": "reader"},
		{"/type": "user", "/role": "owner", "/emailAddress": "bob@example.com"}, {"/type": "domain", "/role": "reader"},
		{"/type": "user", "/emailAddress": "x@evil.example@example.com"}, {"/type": "user", "/emailAddress": "@example.com"},
		{"/type": "user", "/emailAddress": ["bob@example.com"]}, {"/type": "anyone", "/emailAddress": "bob@example.com", "/domain": "example.com"},
		{"/type": "domain", "/emailAddress": "bob@example.com"}, {"/type": "user", "/domain": "example.com"},
	] {
		goog("POST", permissions, [read_body(members)]) == ["google_share"]
		goog_inside("POST", permissions, [read_body(members)]) == ["google_share"]
		goog_lifted("share", "POST", permissions, [read_body(members)]) == []
		goog_lifted("access", "POST", permissions, [read_body(members)]) == ["google_share"]
	}
	goog_inside("POST", permissions, [unread_body]) == ["google_share"]
	goog_inside("PATCH", sprintf("%s/p", [permissions]), [read_body({"/type": "user", "/emailAddress": "bob@example.com"})]) == ["google_share"]
	goog("DELETE", sprintf("%s/p", [permissions]), []) == []
	goog("GET", permissions, []) == []
}

test_google_a_file_is_shared_inside if {
	every members in [
		{"/type": "user", "/role": "reader", "/emailAddress": "Bob@Example.com"},
		{"/type": "group", "/role": "writer", "/emailAddress": "team@example.com"},
		{"/type": "domain", "/role": "reader", "/domain": "Example.com"},
	] {
		goog_inside("POST", permissions, [read_body(members)]) == []
		goog("POST", permissions, [read_body(members)]) == ["google_share"]
	}
}

acl := "calendar/v3/calendars/c/acl"

test_google_a_calendar_is_not_shared_outside if {
	every members in [
		{"/scope/type": "default"}, {"/scope/type": "user", "/scope/value": "x@evil.example"},
		{"/scope/type": "domain", "/scope/value": "evil.example"}, {}, {"/scope/type": "user", "/scope/value": "example.com"},
		{"/scope/type": "domain", "/scope/value": "bob@example.com"}, {"/scope/type": "default", "/scope/value": "example.com"},
	] {
		every method in ["POST", "PUT", "PATCH"] {
			goog_inside(method, acl, [read_body(members)]) == ["google_share"]
		}
		goog_lifted("share", "POST", acl, [read_body(members)]) == []
	}
	goog("DELETE", sprintf("%s/r", [acl]), []) == []
	every members in [
		{"/scope/type": "user", "/scope/value": "bob@example.com"}, {"/scope/type": "group", "/scope/value": "team@example.com"},
		{"/scope/type": "domain", "/scope/value": "EXAMPLE.com"},
	] {
		goog_inside("POST", acl, [read_body(members)]) == []
		goog("POST", acl, [read_body(members)]) == ["google_share"]
	}
}

test_google_nothing_is_published if {
	path := "drive/v3/files/f/revisions/r"
	row := set_to("/operation/id", "drive.revisions.update")
	goog("PATCH", path, [row, read_body({})]) == []
	goog("PATCH", path, [row, read_body({"/published": false, "/publishAuto": false, "/publishedOutsideDomain": false})]) == []
	every pointer in ["/published", "/publishAuto", "/publishedOutsideDomain"] {
		every value in [true, "true", "false", null] {
			goog("PATCH", path, [row, read_body({pointer: value})]) == ["google_share"]
		}
	}
	goog("PATCH", path, [read_body({})]) == ["google_share"]
	goog("PATCH", path, [row, unread_body]) == ["google_share"]
	goog_lifted("share", "PATCH", path, [row, unread_body]) == []
	goog("DELETE", path, []) == []
	goog("PATCH", path, [set_to("/asked", "list")]) == []
	goog("POST", "v1/forms/f:setPublishSettings", []) == ["google_share"]
}

events := "calendar/v3/calendars/c/events"

guests(emails) := read_body({"/attendees": [{"email": email} | some email in emails]})

test_google_nobody_outside_is_invited if {
	every method in ["POST", "PUT", "PATCH"] {
		goog_inside(method, events, [guests(["bob@example.com", "Eve@Example.com"])]) == []
		goog_inside(method, events, [guests(["bob@example.com"])]) == []
		goog_inside(method, events, [guests(["bob@example.com", "x@evil.example"])]) == ["invitation_outside"]
		goog_inside(method, events, [guests([])]) == ["invitation_outside"]
		goog_inside(method, events, [read_body({})]) == []
		goog_inside(method, events, [unread_body]) == ["invitation_outside"]
		goog(method, events, [guests(["x@evil.example"])]) == []
	}
	goog_inside("POST", events, [read_body({"/attendees": "x@evil.example"})]) == ["invitation_outside"]
	goog_inside("POST", events, [read_body({"/attendees": [{"id": "1"}]})]) == ["invitation_outside"]
	goog_inside("POST", events, [read_body({"/attendees": [{"email": "bob@example.com"}, {"id": "1"}]})]) == ["invitation_outside"]
	goog_inside("POST", events, [read_body({"/attendees": {"a": {"email": "bob@example.com"}}})]) == ["invitation_outside"]
	goog_inside("DELETE", events, [unread_body]) == []
	goog_inside("POST", sprintf("%s/quickAdd", [events]), []) == ["invitation_outside"]
	goog_inside("POST", sprintf("%s/e/move", [events]), [unread_body]) == []
	goog_inside("GET", events, [unread_body]) == []
	goog_inside("POST", "calendar/v3/calendars/events", [unread_body]) == []
}

test_google_mail_without_a_reader_goes_outside if {
	every path in ["gmail/v1/users/me/messages/send", "gmail/v1/users/me/drafts/send", "upload/gmail/v1/users/me/messages/send"] {
		goog_inside("POST", path, []) == ["recipient_outside"]
		goog_inside("POST", path, [mail_to(["example.com"])]) == []
		goog_inside("POST", path, [mail_to(["evil.example"])]) == ["recipient_outside"]
		goog_inside("POST", path, [set_to("/asked", "list")]) == []
		goog("POST", path, []) == []
	}
	goog_inside("POST", "gmail/v1/users/me/messages/import", []) == []

	# What answers by itself answers everybody.
	vacation := "gmail/v1/users/me/settings/vacation"
	goog_inside("PUT", vacation, []) == ["recipient_outside"]
	goog_inside("GET", vacation, []) == []
	goog_inside("PUT", "gmail/v1/users/me/settings/language", []) == []
	goog_inside("PUT", "gmail/v1/users/me/x/vacation", []) == []
	goog("PUT", vacation, []) == []
}
