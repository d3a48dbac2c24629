"""The arcadepy client as people use it. ARCADE_API_KEY and ARCADE_BASE_URL say who calls and where; each answer is one line."""

import sys

from arcadepy import Arcade

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


{"agent": agent, "application": application, "operator": operator}[sys.argv[1]](*sys.argv[2:])
