# The SDKs of Python, pointed at deputy as docs/sdks.md tells. argv: deputy's origin. Each line of standard input asks for one
# step of one SDK with one tag; each answer is a line of its own. Steps run beside each other.
import asyncio
import io
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor

origin = sys.argv[1]
BYTES = b'nine=byte&b=%7'


def link_in(text):
    found = re.search(r'https?://\S+/connect/[\w-]+', text)
    return found and found[0]


class PyGithub:
    def __init__(self, tag):
        from github import Auth, Github

        # Without its own pause of a second after each write.
        quick = {'seconds_between_requests': 0, 'seconds_between_writes': 0}
        self.hub = Github(auth=Auth.Token(tag), base_url=f'{origin}/api.github.com', **quick)

    def who(self):
        return self.hub.get_user().login

    def pages(self):
        return [issue.title for issue in self.hub.get_repo('acme/web').get_issues()]

    def upload(self):
        return self.hub.get_repo('acme/web').create_file('a.txt', 'x', BYTES)

    def calls(self):
        repo = self.hub.get_repo('acme/web')
        issue = repo.get_issue(1)
        pull = repo.get_pull(1)
        return [
            lambda: repo.create_issue(title='x'),
            lambda: issue.edit(title='x'),
            lambda: issue.create_comment('x'),
            lambda: issue.add_to_labels('bug'),
            lambda: list(issue.get_comments()),
            lambda: list(repo.get_commits()),
            lambda: repo.get_contents('src/main.py'),
            lambda: repo.create_file('a.md', 'x', 'x'),
            lambda: list(repo.get_pulls()),
            lambda: repo.create_pull(base='main', head='topic', title='x'),
            lambda: list(pull.get_files()),
            lambda: pull.create_review(body='x', event='COMMENT'),
            lambda: pull.merge(),
            lambda: repo.compare('main', 'topic'),
            lambda: repo.get_git_tree('main', recursive=True),
            lambda: repo.create_git_ref('refs/heads/x', 'abc'),
            lambda: list(repo.get_workflow_runs()),
            lambda: list(self.hub.search_issues('is:open')),
            lambda: list(self.hub.search_code('x')),
            lambda: repo.get_branch('main'),
        ]

    @staticmethod
    def told(error):
        return {'code': error.headers['deputy-answer'], 'url': error.data.get('url')}


class GoogleApi:
    def __init__(self, tag):
        from google.oauth2.credentials import Credentials

        self.credentials = Credentials(tag)

    def build(self, name, version, path):
        from googleapiclient.discovery import build

        options = {'api_endpoint': f'{origin}/{path}'}
        return build(name, version, credentials=self.credentials, client_options=options)

    def gmail(self):
        return self.build('gmail', 'v1', 'gmail.googleapis.com').users()

    def who(self):
        return self.gmail().getProfile(userId='me').execute()['emailAddress']

    def pages(self):
        messages, found = self.gmail().messages(), []
        request = messages.list(userId='me')
        while request is not None:
            page = request.execute()
            found += [message['id'] for message in page['messages']]
            request = messages.list_next(request, page)
        return found

    def upload(self):
        # An upload keeps Google's own address, so it goes by HTTPS_PROXY.
        from googleapiclient.discovery import build
        from googleapiclient.http import MediaIoBaseUpload

        media = MediaIoBaseUpload(io.BytesIO(BYTES), 'text/plain', resumable=True)
        drive = build('drive', 'v3', credentials=self.credentials)
        return drive.files().create(body={'name': 'a.txt'}, media_body=media).execute()

    def calls(self):
        gmail = self.gmail()
        drive = self.build('drive', 'v3', 'www.googleapis.com/drive/v3/')
        calendar = self.build('calendar', 'v3', 'www.googleapis.com/calendar/v3/')
        raw = 'VG86IGFubkBjb3JwLnRlc3QNCg0KaGVsbG8='
        me, primary, event = {'userId': 'me'}, {'calendarId': 'primary'}, {'eventId': '1'}
        return [
            request.execute
            for request in [
                gmail.getProfile(**me),
                gmail.messages().list(**me),
                gmail.messages().get(id='1', **me),
                gmail.messages().send(body={'raw': raw}, **me),
                gmail.messages().modify(id='1', body={'addLabelIds': ['x']}, **me),
                gmail.messages().batchModify(body={'ids': ['1']}, **me),
                gmail.threads().get(id='1', **me),
                gmail.drafts().create(body={'message': {'raw': raw}}, **me),
                gmail.labels().list(**me),
                calendar.calendarList().list(),
                calendar.events().list(**primary),
                calendar.events().insert(body={'summary': 'x'}, **primary),
                calendar.events().patch(body={'summary': 'x'}, **primary, **event),
                calendar.events().delete(**primary, **event),
                calendar.freebusy().query(body={'items': [{'id': 'primary'}]}),
                drive.files().list(),
                drive.files().get(fileId='1'),
                drive.files().export(fileId='1', mimeType='text/plain'),
                drive.permissions().list(fileId='1'),
                drive.comments().list(fileId='1', fields='*'),
                drive.changes().getStartPageToken(),
            ]
        ]

    @staticmethod
    def told(error):
        return {'code': error.resp['deputy-answer'], 'url': link_in(str(error))}


class MsGraph:
    def __init__(self, tag):
        self.tag = tag

    def client(self):
        from kiota_abstractions.authentication import (
            AccessTokenProvider,
            AllowedHostsValidator,
            BaseBearerTokenAuthenticationProvider,
        )
        from msgraph import GraphRequestAdapter, GraphServiceClient

        tag = self.tag

        class Tag(AccessTokenProvider):
            async def get_authorization_token(self, uri, additional_authentication_context=None):
                return tag

            def get_allowed_hosts_validator(self):
                return AllowedHostsValidator([])

        adapter = GraphRequestAdapter(BaseBearerTokenAuthenticationProvider(Tag()))
        adapter.base_url = f'{origin}/graph.microsoft.com/v1.0'
        return GraphServiceClient(request_adapter=adapter)

    def who(self):
        async def ask():
            return (await self.client().me.get()).user_principal_name

        return asyncio.run(ask())

    def pages(self):
        async def ask():
            messages = self.client().me.messages
            page, found = await messages.get(), []
            while page is not None:
                found += [message.id for message in page.value]
                link = page.odata_next_link
                page = await messages.with_url(link).get() if link else None
            return found

        return asyncio.run(ask())

    def upload(self):
        async def ask():
            return await self.client().drives.by_drive_id('d').items.by_drive_item_id('1').content.put(BYTES)

        asyncio.run(ask())

    def calls(self):
        from msgraph.generated.models.event import Event
        from msgraph.generated.models.message import Message
        from msgraph.generated.users.item.send_mail.send_mail_post_request_body import SendMailPostRequestBody

        def later(ask):
            async def run():
                return await ask(self.client())

            return lambda: asyncio.run(run())

        mail = SendMailPostRequestBody(message=Message(subject='x'))
        return [
            later(ask)
            for ask in [
                lambda g: g.me.get(),
                lambda g: g.me.messages.get(),
                lambda g: g.me.messages.by_message_id('1').get(),
                lambda g: g.me.messages.by_message_id('1').attachments.get(),
                lambda g: g.me.messages.by_message_id('1').patch(Message(is_read=True)),
                lambda g: g.me.mail_folders.by_mail_folder_id('inbox').messages.get(),
                lambda g: g.me.send_mail.post(mail),
                lambda g: g.me.events.get(),
                lambda g: g.me.events.post(Event(subject='x')),
                lambda g: g.me.events.by_event_id('1').delete(),
                lambda g: g.me.calendar_view.get(),
                lambda g: g.me.drive.get(),
                lambda g: g.drives.by_drive_id('d').items.by_drive_item_id('1').content.get(),
                lambda g: g.me.joined_teams.get(),
                lambda g: g.teams.by_team_id('1').channels.by_channel_id('2').messages.get(),
                lambda g: g.me.chats.get(),
                lambda g: g.me.contacts.get(),
                lambda g: g.me.people.get(),
                lambda g: g.users.by_user_id('ann@corp.test').get(),
                lambda g: g.sites.by_site_id('root').get(),
            ]
        ]

    @staticmethod
    def told(error):
        return {'code': error.error.code, 'url': link_in(str(error))}


class Slack:
    def __init__(self, tag):
        from slack_sdk import WebClient

        self.web = WebClient(token=tag, base_url=f'{origin}/slack.com/api/')

    def who(self):
        return self.web.auth_test()['user']

    def pages(self):
        return [one['id'] for page in self.web.conversations_list(limit=1) for one in page['channels']]

    def upload(self):
        self.web.files_upload_v2(channel='C1', filename='a.txt', content=BYTES.decode())

    def calls(self):
        web, at = self.web, {'channel': 'C1', 'timestamp': '1.2'}
        return [
            web.auth_test,
            web.conversations_list,
            lambda: web.conversations_info(channel='C1'),
            lambda: web.conversations_history(channel='C1'),
            lambda: web.conversations_replies(channel='C1', ts='1.2'),
            lambda: web.conversations_members(channel='C1'),
            lambda: web.conversations_open(users='U1'),
            lambda: web.conversations_join(channel='C1'),
            lambda: web.chat_postMessage(channel='C1', text='x'),
            lambda: web.chat_update(channel='C1', ts='1.2', text='x'),
            lambda: web.chat_delete(channel='C1', ts='1.2'),
            lambda: web.chat_postEphemeral(channel='C1', user='U1', text='x'),
            lambda: web.chat_scheduleMessage(channel='C1', text='x', post_at=1),
            lambda: web.chat_getPermalink(channel='C1', message_ts='1.2'),
            web.users_list,
            lambda: web.users_info(user='U1'),
            lambda: web.users_lookupByEmail(email='ann@corp.test'),
            lambda: web.search_messages(query='x'),
            lambda: web.reactions_add(name='eyes', **at),
            lambda: web.pins_add(**at),
            web.files_list,
        ]

    @staticmethod
    def told(error):
        answer = error.response
        return {'code': answer.headers.get('deputy-answer'), 'url': answer.data.get('url')}


class SimpleSalesforce:
    # Its objects have an https address of their own: it needs HTTPS_PROXY and REQUESTS_CA_BUNDLE, and nothing else.
    def __init__(self, tag):
        from simple_salesforce import Salesforce

        self.sf = Salesforce(instance='acme.my.salesforce.com', session_id=tag, version='65.0')

    def who(self):
        return self.sf.query('SELECT Username FROM User')['records'][0]['Username']

    def pages(self):
        return [row['Id'] for row in self.sf.query_all_iter('SELECT Id FROM User')]

    def calls(self):
        sf = self.sf
        account, contact = sf.Account, sf.Contact
        return [
            lambda: sf.query('SELECT Id FROM Account'),
            lambda: sf.query_more('01g-2'),
            lambda: sf.search('FIND {x}'),
            lambda: sf.quick_search('x'),
            sf.describe,
            sf.limits,
            lambda: account.get('001'),
            lambda: account.get_by_custom_id('Key__c', '1'),
            lambda: account.create({'Name': 'x'}),
            lambda: account.update('001', {'Name': 'x'}),
            lambda: account.upsert('Key__c/1', {'Name': 'x'}),
            lambda: account.delete('001'),
            account.describe,
            account.metadata,
            lambda: account.describe_layout('012'),
            lambda: contact.get('003'),
            lambda: contact.create({'LastName': 'x'}),
            lambda: contact.update('003', {'LastName': 'x'}),
            contact.describe,
            lambda: sf.restful('recent'),
        ]

    @staticmethod
    def told(error):
        first = error.content[0]
        return {'code': first['errorCode'].lower(), 'url': link_in(str(error))}


class OpenAi:
    def __init__(self, tag):
        from openai import OpenAI

        self.ai = OpenAI(api_key=tag, base_url=f'{origin}/api.openai.com/v1')

    def who(self):
        return self.ai.models.list().data[0].owned_by

    def pages(self):
        return [file.id for file in self.ai.files.list()]

    def upload(self):
        self.ai.files.create(file=('a.txt', BYTES), purpose='user_data')

    def calls(self):
        ai, ask = self.ai, {'model': 'gpt', 'messages': [{'role': 'user', 'content': 'x'}]}
        return [
            ai.models.list,
            lambda: ai.models.retrieve('gpt'),
            lambda: ai.chat.completions.create(**ask),
            lambda: ai.chat.completions.create(stream=True, **ask),
            lambda: ai.responses.create(model='gpt', input='x'),
            lambda: ai.responses.create(model='gpt', input='x', stream=True),
            lambda: ai.responses.retrieve('r'),
            lambda: ai.embeddings.create(model='e', input='x'),
            lambda: ai.moderations.create(input='x'),
            lambda: ai.images.generate(prompt='x'),
            ai.files.list,
            lambda: ai.files.retrieve('f'),
            lambda: ai.files.content('f'),
            lambda: ai.files.delete('f'),
            ai.batches.list,
            lambda: ai.batches.retrieve('b'),
            lambda: ai.batches.create(
                input_file_id='f', endpoint='/v1/responses', completion_window='24h'
            ),
            ai.vector_stores.list,
            lambda: ai.vector_stores.create(),
            lambda: ai.vector_stores.retrieve('v'),
            ai.fine_tuning.jobs.list,
        ]

    @staticmethod
    def told(error):
        return {'code': error.response.headers.get('deputy-answer'), 'url': error.response.json().get('url')}


class Anthropic:
    def __init__(self, tag):
        from anthropic import Anthropic as Client

        self.ai = Client(auth_token=tag, base_url=f'{origin}/api.anthropic.com')

    def who(self):
        return self.ai.models.list().data[0].display_name

    def pages(self):
        return [file.id for file in self.ai.beta.files.list()]

    def upload(self):
        self.ai.beta.files.upload(file=('a.txt', BYTES, 'text/plain'))

    def calls(self):
        ai, messages = self.ai, [{'role': 'user', 'content': 'x'}]
        ask = {'model': 'claude', 'max_tokens': 9, 'messages': messages}
        batches, files = ai.messages.batches, ai.beta.files
        return [
            ai.models.list,
            lambda: ai.models.retrieve('claude'),
            lambda: ai.messages.create(**ask),
            lambda: ai.messages.create(stream=True, **ask),
            lambda: ai.messages.create(system='x', **ask),
            lambda: ai.messages.create(tools=[{'name': 'a', 'input_schema': {'type': 'object'}}], **ask),
            lambda: ai.messages.count_tokens(model='claude', messages=messages),
            batches.list,
            lambda: batches.retrieve('b'),
            lambda: batches.create(requests=[{'custom_id': '1', 'params': ask}]),
            lambda: batches.cancel('b'),
            lambda: batches.delete('b'),
            files.list,
            lambda: files.retrieve_metadata('f'),
            lambda: files.download('f'),
            lambda: files.delete('f'),
            lambda: ai.beta.messages.create(**ask),
            lambda: ai.beta.messages.count_tokens(model='claude', messages=messages),
            ai.beta.models.list,
            lambda: ai.beta.models.retrieve('claude'),
        ]

    @staticmethod
    def told(error):
        return {'code': error.response.headers.get('deputy-answer'), 'url': error.body.get('url')}


class HubSpot:
    def __init__(self, tag):
        from hubspot import Client

        self.hub = Client.create(access_token=tag)
        self.hub.config['host'] = f'{origin}/api.hubapi.com'

    def who(self):
        return self.hub.crm.owners.owners_api.get_page().results[0].email

    def pages(self):
        return [contact.id for contact in self.hub.crm.contacts.get_all()]

    def calls(self):
        crm, files = self.hub.crm, self.hub.files.files_api
        some, ask, new = {'inputs': []}, {'limit': 2}, {'properties': {}, 'associations': []}
        return [
            crm.contacts.basic_api.get_page,
            lambda: crm.contacts.basic_api.get_by_id('1'),
            lambda: crm.contacts.basic_api.create(new),
            lambda: crm.contacts.basic_api.update('1', new),
            lambda: crm.contacts.basic_api.archive('1'),
            lambda: crm.contacts.search_api.do_search(ask),
            lambda: crm.contacts.batch_api.read(some),
            lambda: crm.contacts.batch_api.create(some),
            crm.companies.basic_api.get_page,
            lambda: crm.companies.search_api.do_search(ask),
            lambda: crm.deals.basic_api.create(new),
            lambda: crm.deals.batch_api.update(some),
            crm.tickets.basic_api.get_page,
            lambda: crm.objects.notes.basic_api.create(new),
            crm.objects.tasks.basic_api.get_page,
            lambda: crm.objects.basic_api.get_page('p_cars'),
            lambda: crm.associations.v4.basic_api.get_page('contacts', '1', 'companies'),
            crm.owners.owners_api.get_page,
            lambda: crm.pipelines.pipelines_api.get_all('deals'),
            lambda: crm.properties.core_api.get_all('contacts'),
            crm.schemas.core_api.get_all,
            lambda: files.get_by_id('1'),
        ]

    @staticmethod
    def told(error):
        return {'code': error.headers.get('deputy-answer'), 'url': json.loads(error.body).get('url')}


class Stripe:
    def __init__(self, tag):
        from stripe import StripeClient

        hosts = {'api': f'{origin}/api.stripe.com', 'files': f'{origin}/files.stripe.com'}
        client = StripeClient(tag, base_addresses=hosts)
        self.v1, self.v2 = client.v1, client.v2

    def who(self):
        return self.v1.accounts.retrieve_current().email

    def pages(self):
        return [customer.id for customer in self.v1.customers.list().auto_paging_iter()]

    def upload(self):
        file = io.BytesIO(BYTES)
        file.name = 'a.txt'
        self.v1.files.create({'purpose': 'dispute_evidence', 'file': file})

    def calls(self):
        v1 = self.v1
        return [
            v1.balance.retrieve,
            v1.customers.list,
            lambda: v1.customers.retrieve('c'),
            lambda: v1.customers.create({'email': 'a@b.test', 'metadata': {'a': '1'}}),
            lambda: v1.customers.update('c', {'name': 'x'}),
            lambda: v1.customers.delete('c'),
            lambda: v1.customers.search({'query': 'x'}),
            v1.charges.list,
            v1.invoices.list,
            lambda: v1.invoices.retrieve('i'),
            lambda: v1.invoices.create({'customer': 'c'}),
            lambda: v1.invoices.create_preview({'customer': 'c'}),
            v1.products.list,
            lambda: v1.products.create({'name': 'x'}),
            v1.prices.list,
            lambda: v1.prices.create({'currency': 'eur', 'product': 'p', 'unit_amount': 1}),
            lambda: v1.subscriptions.create({'customer': 'c', 'items': [{'price': 'p'}]}),
            lambda: v1.payment_intents.create({'amount': 1, 'currency': 'eur'}),
            lambda: v1.payment_intents.retrieve('p'),
            lambda: v1.refunds.create({'payment_intent': 'p'}),
            v1.events.list,
            self.v2.core.events.list,
        ]

    @staticmethod
    def told(error):
        return {'code': error.headers.get('deputy-answer'), 'url': link_in(str(error))}


SDKS = {
    'PyGithub': PyGithub,
    'google-api-python-client': GoogleApi,
    'msgraph-sdk': MsGraph,
    'slack_sdk': Slack,
    'simple-salesforce': SimpleSalesforce,
    'openai': OpenAi,
    'anthropic': Anthropic,
    'hubspot-api-client': HubSpot,
    'stripe': Stripe,
}


def each(calls):
    """What a client makes of so poor an answer does not matter: what was sent is counted where it arrives."""
    for call in calls:
        try:
            call()
        except Exception as error:
            print(f'{type(error).__name__}: {error}'[:200], file=sys.stderr)


def step(asked):
    client = SDKS[asked['sdk']]
    try:
        sdk = client(asked['tag'])
        if asked['step'] == 'calls':
            return {'value': each(sdk.calls())}
        return {'value': getattr(sdk, asked['step'])()}
    except Exception as error:
        said = f'{type(error).__name__}: {error}'
        try:
            return {'told': client.told(error), 'error': said}
        except (AttributeError, KeyError, IndexError, TypeError):
            return {'told': {}, 'error': said}


def answer(line):
    asked = json.loads(line)
    said = json.dumps({'id': asked['id'], **step(asked)}, default=str)
    sys.stdout.write(said + '\n')
    sys.stdout.flush()


with ThreadPoolExecutor(16) as pool:
    for line in sys.stdin:
        pool.submit(answer, line)
