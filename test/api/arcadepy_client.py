"""The arcadepy client as people use it. ARCADE_API_KEY and ARCADE_BASE_URL say who calls and where; each answer is one line."""

import json
import sys

from arcadepy import Arcade, PermissionDeniedError

client = Arcade()


def show(answer):
    print(answer.to_json(indent=None), flush=True)


def agent(user_id, provider, *scopes):
    started = client.auth.start(user_id, provider, scopes=list(scopes))
    show(started)
    show(client.auth.wait_for_completion(started))
    show(client.auth.status(id=started.id))


def application(flow_id, user_id):
    show(client.auth.confirm_user(flow_id=flow_id, user_id=user_id))


def operator():
    connections = client.admin.user_connections
    if connections.list(user={"id": "nobody"}).items:
        raise SystemExit("the filter by person is not heard")
    # A page each: the client turns them by itself.
    for one in list(connections.list(limit=1)):
        show(one)
        connections.delete(one.id)
    show(connections.list())


def backend(tool_name, *user_ids):
    """One key and many people: what each may use, and one tool carried out for each, with their consent where it needs one."""
    for user_id in user_ids:
        # A page each: the client turns them by itself.
        tools = [tool.qualified_name for tool in client.tools.list(user_id=user_id, limit=1)]
        formatted = client.tools.formatted.list(format="openai", user_id=user_id).items
        print(json.dumps({"user": user_id, "tools": tools, "formatted": formatted}), flush=True)
        if not tools:
            continue
        show(client.tools.get(tool_name, user_id=user_id))
        try:
            done = client.tools.execute(tool_name=tool_name, input={}, user_id=user_id)
        except PermissionDeniedError as error:
            print(json.dumps(error.body), flush=True)
            started = client.tools.authorize(tool_name=tool_name, user_id=user_id)
            show(started)
            show(client.auth.wait_for_completion(started))
            done = client.tools.execute(tool_name=tool_name, input={}, user_id=user_id)
        show(done)


{"agent": agent, "application": application, "backend": backend, "operator": operator}[sys.argv[1]](*sys.argv[2:])
