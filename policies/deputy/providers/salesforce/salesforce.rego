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
	"groupmember", "loginip", "mutingpermissionset", "namedcredential", "oauthtoken", "objectpermissions", "queuesobject",
	"sessionpermsetactivation", "setupentityaccess", "tenantsecret", "userlogin", "userpackagelicense", "userterritory2association",
]

# Code, settings and bulk loads, where no record is seen.
protected if resource in ["tooling", "metadata", "jobs", "process", "apexrest", "connect"]

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
