# METADATA
# description: |
#   What no agent does at HubSpot, whatever the rows say, unless the table guards leaves it to agents: change users and
#   what they may do, hooks, keys, and what runs on the website. It asks the path that will be sent and not the catalogue.
package deputy.providers.hubspot

import future.keywords.not

import data.deputy.lib

deny contains {"code": "hubspot_protected", "msg": "agents do not change who has access, hooks, keys or what runs"} if {
	not lib.reads(input.request.method)
	protected
	not asks
	not lib.guard_lifted("access")
}

# A call that sends mail, and of which the catalogue does not say to whom.
deny contains {"code": "recipient_outside", "msg": "the mail goes to somebody outside the domains that the tables list"} if {
	not lib.reads(input.request.method)
	lib.domains_listed
	not lib.listing
	sends
	not input.request.mail
}

path := [lower(segment) | some segment in input.request.segments]

last := path[count(path) - 1]

# A question too long for a URL.
asks if {
	input.request.method == "POST"
	last in ["search", "read"]
}

protected if path[0] in [
	"account-info", "appinstalls", "business-units", "crm-object-schemas", "integrators", "oauth", "settings", "webhooks",
]

# crm/v3/objects/users, crm/objects/v3/users, and the number of their type.
protected if {
	path[0] == "crm"
	"objects" in [path[1], path[2]]
	path[3] in ["users", "user", "0-115"]
}

protected if {
	path[0] == "crm"
	path[2] in ["schemas", "extensions"]
}

protected if {
	path[0] == "automation"
	path[2] in ["actions", "flows"]
}

protected if {
	path[0] == "cms"
	path[2] in ["domains", "source-code", "url-redirects"]
}

protected if "smtp-tokens" in path

sends if last in ["single-send", "send"]

sends if {
	path[0] == "conversations"
	last == "messages"
}

sends if {
	path[0] == "automation"
	last == "enrollments"
}

# A marketing mail goes to its lists when it is published.
sends if {
	path[0] == "marketing"
	path[2] == "emails"
	last == "publish"
}

# Whoever is in a meeting is invited.
sends if path[0] == "scheduler"
