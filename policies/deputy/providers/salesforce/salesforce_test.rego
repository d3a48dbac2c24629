package deputy_test

sf(method, path, ops) := wide_at("salesforce", "acme.my.salesforce.com", array.concat(call(method, sprintf("services/data/v65.0/%s", [path])), ops))

sf_lifted(guard, method, path, ops) := c if {
	c := sf(method, path, ops) with data.deputy_data.guards.salesforce as {guard: true}
}

test_salesforce_who_has_access_stays if {
	every path in [
		"sobjects/PermissionSet", "sobjects/permissionsetassignment", "sobjects/Profile/1", "sobjects/UserRole/1",
		"sobjects/PermissionSetGroup/1", "sobjects/UserAccessPolicy", "sobjects/ApexClass", "sobjects/ApexComponent", "sobjects/ApexPage",
		"sobjects/ApexTrigger/1", "sobjects/ConnectedApplication/1", "sobjects/FieldPermissions", "sobjects/Group",
		"sobjects/GroupMember/1", "sobjects/LoginIp/1", "sobjects/MutingPermissionSet", "sobjects/NamedCredential",
		"sobjects/OauthToken/1", "sobjects/ObjectPermissions", "sobjects/QueueSobject", "sobjects/SessionPermSetActivation",
		"sobjects/SetupEntityAccess", "sobjects/TenantSecret", "sobjects/UserLogin/1", "sobjects/UserPackageLicense",
		"sobjects/UserTerritory2Association", "tooling/x", "metadata/deployRequest", "jobs/ingest", "process/rules", "apexrest/x", "connect/x",
	] {
		every method in ["POST", "PATCH", "PUT", "DELETE"] {
			sf(method, path, []) == ["salesforce_protected"]
			sf_lifted("access", method, path, []) == []
			sf_lifted("share", method, path, []) == ["salesforce_protected"]
		}
		sf("GET", path, []) == []
	}
}

test_salesforce_records_are_written if {
	every path in ["sobjects/Account", "sobjects/Contact/1", "sobjects/ContentVersion", "sobjects/Groups__c", "query", "sobjects", "composite/jobs"] {
		sf("POST", path, []) == []
		sf("PATCH", path, []) == []
	}
	wide_at("salesforce", "acme.my.salesforce.com", call("POST", "services/oauth2/v65.0/tooling")) == []
	wide_at("salesforce", "acme.my.salesforce.com", call("POST", "services/data/v65.0/query/sobjects/user")) == []
}

test_salesforce_how_a_person_signs_in_stays if {
	path := "sobjects/User/1"
	named_row := set_to("/operation/id", "user.update")
	sf("PATCH", path, [named_row, read_body({})]) == []
	every field_name in [
		"CallCenterId", "DelegatedApproverId", "Email", "FederationIdentifier", "IsActive", "IsPortalEnabled", "ManagerId",
		"ProfileId", "UserPermissionsMarketingUser", "UserRoleId", "UserType", "Username",
	] {
		changed := [named_row, read_body({sprintf("/%s", [field_name]): null})]
		sf("PATCH", path, changed) == ["salesforce_admin_field"]
		sf_lifted("access", "PATCH", path, changed) == []
		sf_lifted("share", "PATCH", path, changed) == ["salesforce_admin_field"]
	}
	sf("PATCH", path, [named_row, unread_body]) == ["salesforce_admin_field"]
	sf("PATCH", path, [read_body({})]) == ["salesforce_admin_field"]
	sf("PUT", path, [named_row, read_body({})]) == ["salesforce_admin_field"]
	every method in ["POST", "DELETE"] {
		sf(method, "sobjects/user", [read_body({})]) == ["salesforce_admin_field"]
	}
	sf("GET", path, []) == []
}

test_salesforce_records_are_not_shared if {
	every path in ["sobjects/AccountShare", "sobjects/Invoice__Share/1", "sobjects/ContentDistribution", "sobjects/ContentDocumentLink"] {
		sf("POST", path, []) == ["salesforce_share"]
		sf("PATCH", path, []) == ["salesforce_share"]
		sf("DELETE", path, []) == []
		sf("GET", path, []) == []
		sf_lifted("share", "POST", path, []) == []
		sf_lifted("access", "POST", path, []) == ["salesforce_share"]
	}
}

by_ids(query) := sf("DELETE", "composite/sobjects", [set_to("/request/query", query)])

test_salesforce_records_are_deleted_by_their_ids if {
	by_ids({"ids": ["001Qy00000AbcdE,a03Qy00000AbcdE"], "allOrNone": ["true"]}) == []
	by_ids({"ids": ["500Qy00000AbcdE", "00QQy00000AbcdE"]}) == []
	every prefix in [
		"001", "002", "003", "006", "00P", "00Q", "00T", "00U", "00a", "00k", "00v", "01s", "01t", "01u", "02i", "02s", "068",
		"069", "0D5", "0Q0", "500", "501", "701", "800", "801", "a03",
	] {
		by_ids({"ids": [$"{prefix}Qy00000AbcdE"]}) == []
	}
	every query in [
		{"ids": ["001Qy00000AbcdE,005Qy00000AbcdE"]}, {"ids": ["0PaQy00000AbcdE"]}, {"ids": ["001Qy00000AbcdE", "00GQy00000AbcdE"]},
		{"ids": [""]}, {"ids": []}, {}, {"ids": ["001Qy00000AbcdE"], "Ids": ["005Qy00000AbcdE"]}, {"ids": ["001Qy00000AbcdE,"]},
	] {
		by_ids(query) == ["salesforce_protected"]
	}
	by_ids({"ids": ["005Qy00000AbcdE"]}) == ["salesforce_protected"]
	sf_lifted("access", "DELETE", "composite/sobjects", [set_to("/request/query", {"ids": ["005Qy00000AbcdE"]})]) == []
	sf("DELETE", "composite/sobjects", [set_to("/request/query", {}), set_to("/asked", "list")]) == []
	sf("DELETE", "composite/tree", []) == []
	sf("DELETE", "query/sobjects", []) == []
	sf("POST", "composite/sobjects", []) == []
}
