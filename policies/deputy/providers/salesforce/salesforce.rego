# METADATA
# description: |
#   What no agent does at Salesforce, whatever the rows say, unless the table guards leaves it to agents: change who may
#   sign in, what they may do, and whom a record is shared with. It asks the path that will be sent and not the catalogue,
#   in lower case because Salesforce does not tell User from user.
package deputy.providers.salesforce

import future.keywords.not

import data.deputy.lib

deny contains {"code": "salesforce_protected", "msg": "agents do not change who has access, nor what runs"} if {
	not lib.reads(input.request.method)
	protected
	not lib.guard_lifted("access")
}

deny contains {"code": "salesforce_admin_field", "msg": "agents do not change how a person signs in, nor what they may do"} if {
	not lib.reads(input.request.method)
	object == "user"
	not harmless
	not lib.guard_lifted("access")
}

deny contains {"code": "salesforce_share", "msg": "agents do not share records"} if {
	not lib.reads(input.request.method)
	input.request.method != "DELETE"
	shared
	not lib.guard_lifted("share")
}

path := [lower(segment) | some segment in input.request.segments]

# The type of the record.
object := path[4] if path[3] == "sobjects"

# What follows /services/data/{version}.
resource := path[3] if array.slice(path, 0, 2) == ["services", "data"]

protected if {
	some part in ["permissionset", "profile", "userrole", "useraccess"]
	contains(object, part)
}

protected if object in [
	"apexclass", "apexcomponent", "apexpage", "apextrigger", "connectedapplication", "fieldpermissions", "group",
	"groupmember", "loginip", "namedcredential", "oauthtoken", "objectpermissions", "queuesobject",
	"sessionpermsetactivation", "setupentityaccess", "tenantsecret", "userlogin", "userpackagelicense", "userterritory2association",
]

# Code, settings and bulk loads, where no record is seen.
protected if resource in ["tooling", "metadata", "jobs", "process", "apexrest", "connect"]

# Records that are deleted by their ids alone: the first three letters say of what type each is.
protected if {
	input.request.method == "DELETE"
	resource == "composite"
	path[4] == "sobjects"
	not lib.listing
	not of_records
}

of_records if {
	# Whatever else stands there, in another case too, may be a second list.
	every name, _ in input.request.query {
		name in ["ids", "allOrNone"]
	}
	ids := [id | some list in input.request.query.ids; some id in split(list, ",")]
	count(ids) > 0
	every id in ids {
		some prefix in records
		startswith(id, prefix)
	}
}

# Accounts, contacts, leads, deals, cases, tasks, events, campaigns, orders, products, files and what hangs on them; "a"
# begins the ids of a team's own objects.
records := [
	"001", "002", "003", "006", "00P", "00Q", "00T", "00U", "00a", "00k", "00v", "01s", "01t", "01u", "02i", "02s", "068",
	"069", "0D5", "0Q0", "500", "501", "701", "800", "801", "a",
]

# Only this row of the catalogue is known to look for the fields.
harmless if {
	input.request.method == "PATCH"
	input.operation.id == "user.update"
	every pointer in fields {
		lib.says_nothing(pointer)
	}
}

fields := [
	"/CallCenterId", "/DelegatedApproverId", "/Email", "/FederationIdentifier", "/IsActive", "/IsPortalEnabled",
	"/ManagerId", "/ProfileId", "/UserPermissionsMarketingUser", "/UserRoleId", "/UserType", "/Username",
]

# AccountShare, Invoice__Share; and the links of files.
shared if endswith(object, "share")

shared if object in ["contentdistribution", "contentdocumentlink"]
