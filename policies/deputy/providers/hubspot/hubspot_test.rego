package deputy_test

hub(method, path, ops) := wide_at("hubspot", "api.hubapi.com", array.concat(call(method, path), ops))

hub_inside(method, path, ops) := c if {
	c := hub(method, path, ops) with data.deputy_data.guards.hubspot as {"domains": ["example.com"]}
}

test_hubspot_who_has_access_stays if {
	every path in [
		"settings/v3/users/", "settings/v3/users/1", "webhooks/v3/1/subscriptions", "oauth/v1/token", "account-info/v3/x",
		"appinstalls/v3/x", "business-units/v3/x", "crm-object-schemas/v3/schemas", "integrators/timeline/v3/events",
		"crm/v3/objects/users", "crm/objects/v3/Users/1", "crm/v3/objects/user", "crm/v3/objects/0-115/batch/update",
		"crm/v3/schemas", "crm/v3/extensions/calling", "automation/v4/actions/1", "automation/v4/flows", "cms/v3/domains/1",
		"cms/v3/source-code/x", "cms/v3/url-redirects", "marketing/v3/transactional/smtp-tokens",
	] {
		every method in ["POST", "PUT", "PATCH", "DELETE"] {
			hub(method, path, []) == ["hubspot_protected"]
			hub(method, path, []) == [] with data.deputy_data.guards.hubspot as {"access": true}
			hub(method, path, []) == ["hubspot_protected"] with data.deputy_data.guards.hubspot as {"share": true}
		}
		hub("GET", path, []) == []
	}
	every path in ["crm/v3/objects/users/search", "crm/v3/objects/users/batch/read"] {
		hub("POST", path, []) == []
		hub("PATCH", path, []) == ["hubspot_protected"]
	}
}

test_hubspot_records_are_written if {
	every path in [
		"crm/v3/objects/contacts", "crm/v3/objects/0-1/1", "crm/v3/lists/users", "marketing/v3/emails/", "cms/v3/blogs/posts",
		"automation/v4/sequences", "crm/v3/users/objects", "x/v3/objects/users", "x/v3/schemas", "x/v4/actions", "x/v3/domains",
		"crm/v3/lists/objects/users",
	] {
		hub("POST", path, []) == []
	}
}

test_hubspot_mail_without_a_reader_goes_outside if {
	every path in [
		"marketing/v4/email/single-send", "marketing/v3/transactional/single-email/send",
		"conversations/v3/conversations/threads/1/messages", "automation/v4/sequences/enrollments",
		"marketing/v3/emails/1/publish", "scheduler/v3/meetings/meeting-links/book",
	] {
		hub_inside("POST", path, []) == ["recipient_outside"]
		hub_inside("POST", path, [mail_to(["example.com"])]) == []
		hub_inside("POST", path, [mail_to(["evil.example"])]) == ["recipient_outside"]
		hub_inside("POST", path, [set_to("/asked", "list")]) == []
		hub_inside("GET", path, []) == []
		hub("POST", path, []) == []
	}
	every path in [
		"x/v4/enrollments", "x/v3/messages", "conversations/v3/x", "automation/v4/sequences", "x/v3/emails/1/publish",
		"marketing/v3/x/1/publish", "marketing/v3/emails/1/unpublish", "x/v3/meetings",
	] {
		hub_inside("POST", path, []) == []
	}
}
