# What Python's clients do and say through deputy. argv: deputy's origin; then one line of JSON for each client and person.
import asyncio
import json
import sys

origin = sys.argv[1]


def pygithub(tag):
    from github import Auth, Github

    hub = Github(auth=Auth.Token(tag), base_url=f'{origin}/api.github.com')
    repo = hub.get_repo('acme/app')
    titles = [issue.title for issue in repo.get_issues()]
    made = repo.create_issue(title='new')
    made.edit(title='edited')
    made.create_comment('seen')
    return [*titles, made.title]


def google(tag):
    from google.oauth2.credentials import Credentials
    from googleapiclient.discovery import build

    options = {'api_endpoint': f'{origin}/gmail.googleapis.com'}
    gmail = build('gmail', 'v1', credentials=Credentials(tag), client_options=options)
    return gmail.users().messages().list(userId='me').execute()


def google_batch(tag):
    from google.oauth2.credentials import Credentials
    from googleapiclient.discovery import build
    from googleapiclient.http import BatchHttpRequest

    options = {'api_endpoint': f'{origin}/gmail.googleapis.com'}
    gmail = build('gmail', 'v1', credentials=Credentials(tag), client_options=options)
    batch = BatchHttpRequest(batch_uri=f'{origin}/gmail.googleapis.com/batch/gmail/v1')
    found = []

    def heard(request_id, response, error):
        if error is not None:
            raise error
        found.append(response['id'])

    for message in ['m1', 'm2']:
        batch.add(gmail.users().messages().get(userId='me', id=message), callback=heard)
    batch.execute()
    return found


def msgraph(tag):
    from kiota_abstractions.authentication import (
        AccessTokenProvider,
        AllowedHostsValidator,
        BaseBearerTokenAuthenticationProvider,
    )
    from msgraph import GraphRequestAdapter, GraphServiceClient

    class Tag(AccessTokenProvider):
        async def get_authorization_token(self, uri, additional_authentication_context=None):
            return tag

        def get_allowed_hosts_validator(self):
            return AllowedHostsValidator([])

    adapter = GraphRequestAdapter(BaseBearerTokenAuthenticationProvider(Tag()))
    adapter.base_url = f'{origin}/graph.microsoft.com/v1.0'
    graph = GraphServiceClient(request_adapter=adapter)
    return asyncio.run(graph.me.get()).display_name


def gql_linear(tag):
    from gql import Client, gql
    from gql.transport.requests import RequestsHTTPTransport

    transport = RequestsHTTPTransport(
        url=f'{origin}/api.linear.app/graphql', headers={'Authorization': f'Bearer {tag}'}
    )
    return Client(transport=transport).execute(gql('{ viewer { id } }'))


def notion(tag):
    from notion_client import Client

    return Client(auth=tag, base_url=f'{origin}/api.notion.com').users.me()


def openai(tag):
    from openai import OpenAI

    client = OpenAI(api_key=tag, base_url=f'{origin}/api.openai.com/v1')
    return [model.id for model in client.models.list()]


def atlassian(tag):
    from atlassian import Jira

    return Jira(url=f'{origin}/acme.atlassian.net', token=tag).myself()


def slack(tag):
    from slack_sdk import WebClient

    client = WebClient(token=tag, base_url=f'{origin}/slack.com/api/')
    said = client.files_upload_v2(channel='C1', filename='a.txt', content='nine=byte&b=%7')
    return said['files'][0]['id']


def salesforce(tag):
    from simple_salesforce import Salesforce

    sf = Salesforce(instance='acme.my.salesforce.com', session_id=tag, version='65.0')
    sf.base_url = f'{origin}/acme.my.salesforce.com/services/data/v65.0/'
    return sf.query('SELECT Id FROM Account')


def mcp(tag):
    import httpx2
    from mcp.client.session import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def tools():
        async with (
            httpx2.AsyncClient(headers={'Authorization': f'Bearer {tag}'}) as http,
            streamable_http_client(f'{origin}/mcp.acme.test/mcp', http_client=http) as streams,
            ClientSession(*streams[:2]) as session,
        ):
            await session.initialize()

    return asyncio.run(tools())


def fastmcp(tag):
    from fastmcp import Client

    async def tools():
        async with Client(f'{origin}/mcp.acme.test/mcp', auth=tag) as client:
            return await client.list_tools()

    return asyncio.run(tools())


def shown(error):
    """What a program prints of it, with the members of a group (anyio wraps what tasks raise)."""
    members = getattr(error, 'exceptions', ())
    return '\n'.join([f'{type(error).__name__}: {error}', *map(shown, members)])


CLIENTS = [pygithub, google, google_batch, msgraph, gql_linear, notion, openai, atlassian, slack, salesforce, mcp, fastmcp]
for person in sys.argv[2:]:
    for client in CLIENTS:
        try:
            said = {'value': client(f'user:{person}')}
        except BaseException as error:  # a client that ends the process would hide the others
            said = {'error': shown(error)}
        print(json.dumps({'client': client.__name__, 'person': person, **said}), flush=True)
