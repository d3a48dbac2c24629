# METADATA
# description: |
#   What no agent does at Microsoft Graph, whatever the rows say, unless the table guards leaves it to agents: change who
#   may sign in and what they may do, and share with people outside. It asks the path that will be sent and not the
#   catalogue, in lower case.
package deputy.providers.microsoft

import future.keywords.not

import data.deputy.lib

deny contains {"code": "microsoft_protected", "msg": "agents do not change who has access, nor where mail and events go"} if {
	not lib.reads(input.request.method)
	protected
	not lib.guard_lifted("access")
}

deny contains {"code": "microsoft_admin_field", "msg": "agents do not change how a person signs in"} if {
	not lib.reads(input.request.method)
	person == []
	not harmless
	not lib.guard_lifted("access")
}

deny contains {"code": "microsoft_share", "msg": "agents do not share with people outside"} if {
	not lib.reads(input.request.method)
	shares
	not lib.guard_lifted("share")
}

deny contains {"code": "invitation_outside", "msg": "the invitation goes to somebody outside the domains that the tables list"} if {
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

# Without the version.
path := [lower(segment) | some segment in array.slice(input.request.segments, 1, count(input.request.segments))]

last := path[count(path) - 1]

# What follows /me, /users/{id}.
person := array.slice(path, 1, count(path)) if path[0] == "me"

person := array.slice(path, 2, count(path)) if {
	path[0] == "users"
	count(path) > 1
}

# --- who has access --------------------------------------------------------------------------------

protected if path[0] in [
	"appcatalogs", "applications", "applicationtemplates", "auditlogs", "certificatebasedauthconfiguration",
	"connections", "contracts", "devicemanagement", "devices", "directory", "directoryobjects", "directoryroles",
	"directoryroletemplates", "domaindnsrecords", "domains", "groupsettings", "identity", "identitygovernance",
	"identityprotection", "identityproviders", "informationprotection", "invitations", "organization", "policies",
	"privacy", "rolemanagement", "schemaextensions", "scopedrolememberships", "security", "serviceprincipals",
	"tenantrelationships",
]

# New people; groups and teams with their members.
protected if path in [["users"], ["groups"], ["teams"]]

protected if {
	input.request.method == "DELETE"
	path[0] in ["users", "groups", "teams"]
	count(path) == 2
}

protected if {
	input.request.method == "PATCH"
	path[0] == "groups"
	count(path) == 2
}

protected if {
	some segment in path
	segment in [
		"acceptedsenders", "allowedmembers", "approleassignedto", "approleassignments", "authentication", "channelmembers",
		"extensionproperties", "installedapps", "memberof", "members", "messagerules", "oauth2permissiongrants", "owners",
		"permissiongrants", "rejectedsenders", "retentionlabel", "scopedrolememberof", "subscriptions",
	]
}

protected if last in [
	"assignlicense", "changepassword", "exportpersonaldata", "invalidateallrefreshtokens", "reprocesslicenseassignment",
	"retryserviceprovisioning", "revokesigninsessions", "wipemanagedappregistrationsbydevicetag",
]

# Who somebody's manager is.
protected if {
	last == "$ref"
	path[count(path) - 2] in ["manager", "sponsors", "directreports"]
}

# --- how a person signs in ---------------------------------------------------------------------------

# Only these rows of the catalogue are known to look for the fields.
harmless if {
	input.request.method == "PATCH"
	input.operation.id in ["me.update", "users.update"]
	every pointer in fields {
		lib.says_nothing(pointer)
	}
}

# DELETE of a person is refused already.
harmless if input.request.method == "DELETE"

fields := [
	"/accountEnabled", "/ageGroup", "/assignedLicenses", "/businessPhones", "/consentProvidedForMinor", "/employeeType",
	"/identities", "/mail", "/mailNickname", "/mobilePhone", "/onPremisesImmutableId", "/otherMails", "/passwordPolicies",
	"/passwordProfile", "/proxyAddresses", "/usageLocation", "/userPrincipalName", "/userType",
]

# --- what people outside could see -----------------------------------------------------------------

shares if {
	last == "createlink"
	not lib.says("/scope", ["organization"])
}

shares if {
	last == "invite"
	not people_inside
}

people_inside if {
	people := input.request.body.json["/recipients"]
	is_array(people)
	count(people) > 0
	every one in people {
		lib.address_inside(one.email)
	}
}

# Taking away what somebody could see shares nothing.
shares if {
	input.request.method != "DELETE"
	some segment in path
	segment in ["permissions", "permission", "calendarpermissions", "sharedwithteams"]
}

# --- mail and invitations ------------------------------------------------------------------------------

sends if last in ["sendmail", "reply", "replyall", "forward"]

sends if {
	last == "send"
	path[count(path) - 3] == "messages"
}

# A first post of a group is mailed to its members, and to whom it names beside them.
sends if {
	input.request.method == "POST"
	path[0] == "groups"
	last in ["conversations", "threads"]
}

# Automatic answers are among these settings, and go to whoever writes.
sends if {
	not lib.reads(input.request.method)
	last == "mailboxsettings"
}

# Whoever books, or comes to an event, gets mail.
sends if {
	not lib.reads(input.request.method)
	path[0] == "solutions"
	path[1] in ["bookingbusinesses", "virtualevents"]
}

# Without guests nobody is invited; of a body that was not read nobody knows.
invites if {
	input.request.method in ["POST", "PATCH"]
	some segment in array.slice(path, count(path) - 2, count(path))
	segment in ["events", "instances"]
	not lib.says_nothing("/attendees")
}

guests_inside if {
	guests := input.request.body.json["/attendees"]
	is_array(guests)
	count(guests) > 0
	every guest in guests {
		lib.address_inside(guest.emailAddress.address)
	}
}
