# METADATA
# description: |
#   What no agent does at Google, whatever the rows say, unless the table guards leaves it to agents: change who reads or
#   receives somebody's mail, change the directory of a domain, and share with people outside. It asks the path that will
#   be sent and not the catalogue.
package deputy.providers.google

import future.keywords.not

import data.deputy.lib

deny contains {"code": "google_protected", "msg": "agents do not change who has access, nor where mail and events go"} if {
	not lib.reads(input.request.method)
	protected
	not lib.guard_lifted("access")
}

deny contains {"code": "google_share", "msg": "agents do not share with people outside"} if {
	not lib.reads(input.request.method)
	shares
	not lib.guard_lifted("share")
}

deny contains {"code": "invitation_outside", "msg": "the invitation goes to somebody outside the domains that the tables list"} if {
	not lib.reads(input.request.method)
	lib.domains_listed
	invites
	not guests_inside
}

# A call that sends mail, and of which the catalogue does not say to whom.
deny contains {"code": "recipient_outside", "msg": "the mail goes to somebody outside the domains that the tables list"} if {
	lib.domains_listed
	not lib.listing
	sends
	not input.request.mail
}

path := [lower(segment) | some segment in input.request.segments]

# The same behind /upload.
api := array.slice(path, 1, count(path)) if {
	path[0] == "upload"
} else := path

last := api[count(api) - 1]

mail := array.slice(api, 4, count(api)) if array.slice(api, 0, 3) == ["gmail", "v1", "users"]

# What follows the name of a file, and of a calendar.
file := array.slice(api, 4, count(api)) if {
	api[0] == "drive"
	api[2] == "files"
}

calendar := array.slice(api, 4, count(api)) if {
	api[0] == "calendar"
	api[2] == "calendars"
}

# --- what sends mail ---------------------------------------------------------------------------------

sends if mail[count(mail) - 1] == "send"

# It answers whoever writes.
sends if {
	mail == ["settings", "vacation"]
	not lib.reads(input.request.method)
}

# --- who has access, and where things go -----------------------------------------------------------

protected if {
	mail[0] == "settings"
	mail[1] in ["delegates", "forwardingaddresses", "sendas", "filters", "cse", "autoforwarding", "imap", "pop"]
}

protected if api[0] == "admin"

# Channels, which tell another server what happens.
protected if last in ["watch", "stop"]

protected if array.slice(api, 3, 4) == ["watches"]

protected if calendar == ["transferownership"]

protected if {
	api[0] == "drive"
	api[2] in ["drives", "teamdrives"]
	not last in ["hide", "unhide"]
}

protected if file[0] == "accessproposals"

# Who may join a conference.
protected if {
	array.slice(api, 0, 2) == ["v2", "spaces"]
	input.request.method == "PATCH"
}

# Who is in a room or a conference.
protected if {
	api[1] == "spaces"
	startswith(api[3], "members")
}

# --- what people outside could see -----------------------------------------------------------------

# Taking away what somebody could see shares nothing.
shares if {
	input.request.method != "DELETE"
	file[0] == "permissions"
	not permission_inside
}

shares if {
	input.request.method != "DELETE"
	calendar[0] == "acl"
	not rule_inside
}

# A revision that is published is there for the whole web.
shares if {
	input.request.method != "DELETE"
	file[0] == "revisions"
	not lib.listing
	not unpublished
}

shares if endswith(last, ":setpublishsettings")

# The people of a permission that is already there are not named in the call.
permission_inside if {
	input.request.method == "POST"
	not lib.says("/role", ["owner"])
	person_inside
}

person_inside if {
	lib.says("/type", ["user", "group"])
	lib.address_inside(input.request.body.json["/emailAddress"])
}

person_inside if {
	lib.says("/type", ["domain"])
	lib.domain_inside(lower(input.request.body.json["/domain"]))
}

rule_inside if {
	lib.says("/scope/type", ["user", "group"])
	lib.address_inside(input.request.body.json["/scope/value"])
}

rule_inside if {
	lib.says("/scope/type", ["domain"])
	lib.domain_inside(lower(input.request.body.json["/scope/value"]))
}

# Only the row drive.revisions.update of the catalogue is known to look for it.
unpublished if {
	input.operation.id == "drive.revisions.update"
	every pointer in ["/published", "/publishAuto", "/publishedOutsideDomain"] {
		lib.says_not(pointer)
	}
}

# --- invitations -------------------------------------------------------------------------------------

# Without guests nobody is invited; of a body that was not read nobody knows.
invites if {
	calendar[0] == "events"
	last != "move"
	not input.request.method == "DELETE"
	not lib.says_nothing("/attendees")
}

guests_inside if {
	guests := input.request.body.json["/attendees"]
	is_array(guests)
	count(guests) > 0
	every guest in guests {
		lib.address_inside(guest.email)
	}
}

# Whom it invites stands in its text.
invites if last == "quickadd"
