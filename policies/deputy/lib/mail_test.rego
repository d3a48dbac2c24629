package deputy_test

# What a mail gets where the tables list these domains as inside.
mailed(domains, ops) := c if {
	c := codes(array.concat(write_ops, ops)) with data.deputy_data.guards.github as {"domains": domains}
}

inside := ["example.com", "*.example.org"]

test_mail_goes_to_the_domains_that_the_tables_list if {
	every domains in [["example.com"], ["a.example.org", "b.c.example.org", "example.com"]] {
		mailed(inside, [mail_to(domains)]) == []
	}
	every domains in [
		["evil.example"], ["example.com", "evil.example"], ["a.example.com"], ["example.org"], ["evilexample.org"],
		["example.com.evil.example"], [],
	] {
		mailed(inside, [mail_to(domains)]) == ["recipient_outside"]
	}
}

test_without_a_list_mail_goes_anywhere if {
	codes(array.concat(write_ops, [mail_to(["evil.example"])])) == []
	codes(array.concat(write_ops, [set_to("/request/mail", {"unread": true, "sends": true})])) == []
	mailed([], [mail_to(["example.com"])]) == ["recipient_outside"]
}

test_what_is_kept_goes_to_nobody if {
	draft := array.concat([mail_to(["evil.example"])], [set_to("/request/mail/sends", false)])
	mailed(inside, draft) == []
	mailed(inside, [set_to("/request/mail", {"unread": true, "sends": false})]) == []
}

test_a_mail_that_nobody_could_read_goes_outside if {
	every mail in [
		{"unread": true, "sends": true}, {"unread": true}, {}, {"unread": false, "sends": true},
		{"unread": false, "sends": "false", "domains": ["evil.example"]},
		{"unread": false, "sends": true, "domains": {"a": "example.com"}},
		{"unread": false, "sends": true, "domains": "example.com"}, {"unread": false, "sends": true, "domains": [null]},
		{"unread": "false", "sends": true, "domains": ["example.com"]}, null, "mail", [],
	] {
		mailed(inside, [set_to("/request/mail", mail)]) == ["recipient_outside"]
	}
	mailed(inside, [mail_to(["example.com"]), set_to("/request/mail/unread", true)]) == ["recipient_outside"]
}

test_the_lists_of_ancestors_hold_too if {
	own := [set_to("/provider/lineage", ["github", "base"]), mail_to(["example.com"])]
	mailed(inside, own) == [] with data.deputy_data.guards.base as {"domains": ["example.com"]}
	mailed(inside, own) == ["recipient_outside"] with data.deputy_data.guards.base as {"domains": ["example.org"]}
	codes(array.concat(write_ops, own)) == ["recipient_outside"]
		with data.deputy_data.guards as {"base": {"domains": ["example.org"]}}
	codes(array.concat(write_ops, own)) == [] with data.deputy_data.guards as {"base": {"domains": ["example.com"]}}
	codes(array.concat(write_ops, own)) == [] with data.deputy_data.guards as {"base": {"domains": "example.org"}}
}
