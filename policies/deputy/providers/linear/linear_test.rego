package deputy_test

import data.deputy

field(type, name, id, access) := [
	set_to("/provider", {
		"id": "linear",
		"connection": "linear",
		"connected": true,
		"account": "alice@example.com",
		"granted_scopes": ["read", "write"],
	}),
	set_to("/request/method", "POST"),
	set_to("/request/host", "api.linear.app"),
	set_to("/request/segments", ["graphql"]),
	set_to("/request/query", {}),
	set_to("/request/body", {"state": "parsed", "bytes": 64, "json": {}}),
	set_to("/operation", {
		"id": id,
		"kind": "graphql",
		"access": access,
		"required_scopes": ["read"],
		"graphql": {"type": type, "name": "", "fields": [name], "depth": 3},
	}),
]

list_issues := field("query", "issues", "issue.list", "read")

create_issue := field("mutation", "issueCreate", "issue.create", "write")

staff := [set_to("/user/groups", ["staff"])]

test_linear_is_read_by_everybody_with_a_role if {
	decide(list_issues).grants == ["linear-read"]
	decide(list_issues).allow
	decide(array.concat(list_issues, staff)).allow
}

test_engineering_writes_at_linear_with_fresher_facts if {
	d := decide(create_issue)
	d.allow
	d.max_entitlement_age_s == 60
	codes(array.concat(create_issue, staff)) == ["no_grant"]
}

test_nobody_deletes_at_linear if {
	codes(field("mutation", "issueDelete", "issue.delete", "delete")) == ["no_grant"]
}

test_a_field_that_the_catalogue_does_not_know_is_refused if {
	codes(field("mutation", "issueTurn", "unknown", "admin")) == ["no_grant", "operation_unknown"]
	codes(field("query", "apiKeys", "unknown", "admin")) == ["no_grant", "operation_unknown"]
}

test_access_and_webhooks_stay_whatever_the_tables_say if {
	every name in [
		"webhookCreate", "WebhookCreate", "userSuspend", "organizationInviteCreate", "integrationSlack", "apiKeyCreate",
		"emailIntakeAddressCreate", "emailTokenUserAccountAuth", "emailUserAccountAuthChallenge", "googleUserAccountAuth",
		"logout", "oauthClientCreate", "passkeyLoginStart", "resendOrganizationInvite", "samlTokenUserAccountAuth", "teamCreate",
	] {
		linear_codes(wide, field("mutation", name, "webhook.create", "admin")) == ["linear_protected"]
	}
	linear_codes(wide, field("query", "webhooks", "webhook.list", "admin")) == []
	linear_codes(wide, field("mutation", "issueDelete", "issue.delete", "delete")) == []
}

linear_codes(row, ops) := [r.code | some r in d.reasons] if {
	d := deputy.decision with input as json.patch(base, ops)
		with data.deputy_data.grants.linear as {"linear-read": row}
}

test_what_was_not_read_as_graphql_is_refused_at_linear if {
	every kind in ["rest", "asset", "", null] {
		"linear_graphql" in codes(array.concat(list_issues, [set_to("/operation/kind", kind)]))
	}
}

test_linear_bodies_must_be_read if {
	every state in ["unparsed", "too_large", "truncated"] {
		codes(array.concat(list_issues, [set_to("/request/body/state", state)])) == ["body_opaque"]
	}
}

test_an_account_at_linear_may_be_connected if {
	own := [
		set_to("/operation", {"id": "deputy.connect", "kind": "deputy", "access": "read", "required_scopes": []}),
		set_to("/provider/connected", false),
	]
	decide(array.concat(list_issues, own)).allow
}

test_issues_and_documents_are_not_shared if {
	every name in ["issueShare", "DocumentShare"] {
		linear_codes(wide, field("mutation", name, "issue.share", "admin")) == ["linear_share"]
		linear_codes(wide, field("mutation", name, "issue.share", "admin")) == [] with data.deputy_data.guards.linear as {"share": true}
	}
	every name in ["issueUnshare", "documentUnshare"] {
		linear_codes(wide, field("mutation", name, "issue.unshare", "admin")) == []
	}
	linear_codes(wide, field("query", "issueShare", "issue.share", "read")) == []
}
