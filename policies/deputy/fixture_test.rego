package deputy_test

import data.deputy

# alice of engineering lists the issues of a repository
base := {
	"version": 1,
	"request_id": "req-1",
	"now": {"unix_s": 1790000000, "weekday": "mon", "hour": 14},
	"user": {
		"id": "alice@example.com",
		"realm": "https://idp.example",
		"tenant": "acme",
		"verified": true,
		"active": true,
		"groups": ["engineering"],
		"roles": [],
		"entitlements": [],
		"entitlements_age_ms": 12,
		"auth": {"acr": "urn:acr:pwd", "amr": ["pwd"], "age_s": 1200},
	},
	"agent": {"id": "agent:triage"},
	"provider": {
		"id": "github",
		"connection": "github",
		"connected": true,
		"account": "alice-gh",
		"granted_scopes": ["repo"],
	},
	"request": {
		"method": "GET",
		"host": "api.github.com",
		"segments": ["repos", "acme", "app", "issues"],
		"query": {"state": ["open"]},
		"stripped": [],
		"body": {"state": "none", "bytes": 0},
	},
	"operation": {"id": "issues.listForRepo", "kind": "rest", "access": "read", "required_scopes": ["repo"]},
	"approvals": [],
}

set_to(path, value) := {"op": "add", "path": path, "value": value}

without(path) := {"op": "remove", "path": path}

decide(ops) := d if d := deputy.decision with input as json.patch(base, ops)

codes(ops) := [r.code | some r in decide(ops).reasons]

write_ops := [
	set_to("/request/method", "POST"),
	set_to("/request/body", {"state": "parsed", "bytes": 64, "content_type": "application/json", "json": {}}),
	set_to("/operation/id", "issues.create"),
	set_to("/operation/access", "write"),
]

call(method, path) := [
	set_to("/request/method", method),
	set_to("/request/segments", split(path, "/")),
]

# A row that allows everything, to see what stays refused.
wide := {
	"kinds": ["rest", "graphql", "mcp"],
	"access": ["read", "write", "delete", "admin"],
	"operations": ["*"],
	"path": ["**"],
	"agents": ["*"],
	"entitlement": "*",
	"scopes": [],
	"max_entitlement_age_s": 300,
	"obligations": {},
	"step_up": {},
	"approval": {},
	"checks": [],
	"when": [],
	"arguments": [],
	"max_body_bytes": null,
	"mail": {},
	"history": [],
}

# What base gets when gh-read is another row.
row_codes(row, ops) := [r.code | some r in row_decision(row, ops).reasons]

row_decision(row, ops) := d if {
	d := deputy.decision with input as json.patch(base, ops)
		with data.deputy_data.grants.github as {"gh-read": row}
}
