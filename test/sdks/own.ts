// Definitions that do not ship: what each of these APIs needs so that its SDK can be put through deputy.
import type { Fields } from '../support/deputy.ts'

type Own = { readonly id: string; readonly hosts: readonly string[] } & Fields
const EVERYTHING = [['all']]
const LISTED = [
  'account',
  'balance',
  'customers',
  'charges',
  'invoices',
  'products',
  'prices',
  'events',
]
const READ = ['customers', 'invoices', 'products', 'subscriptions', 'payment_intents']
const MADE = [...READ, 'prices', 'refunds']

export const OWN: readonly Own[] = [
  {
    id: 'openai',
    hosts: ['api.openai.com'],
    errors: {
      error: { message: '{detail}', type: 'permission_error', param: null, code: '{code}' },
    },
    operations: [
      {
        scopes: EVERYTHING,
        read: {
          'models.list': 'GET /v1/models',
          'models.get': 'GET /v1/models/{model}',
          'files.list': 'GET /v1/files',
          'files.get': 'GET /v1/files/{id}',
          'files.content': 'GET /v1/files/{id}/content',
          'responses.get': 'GET /v1/responses/{id}',
          'batches.list': 'GET /v1/batches',
          'batches.get': 'GET /v1/batches/{id}',
          'vectorStores.list': 'GET /v1/vector_stores',
          'vectorStores.get': 'GET /v1/vector_stores/{id}',
          'fineTuning.list': 'GET /v1/fine_tuning/jobs',
          'conversations.get': 'GET /v1/conversations/{id}',
        },
        write: {
          'chat.create': 'POST /v1/chat/completions',
          'responses.create': 'POST /v1/responses',
          'embeddings.create': 'POST /v1/embeddings',
          'moderations.create': 'POST /v1/moderations',
          'images.create': 'POST /v1/images/generations',
          'files.create': { call: 'POST /v1/files', upload: true },
          'batches.create': 'POST /v1/batches',
          'vectorStores.create': 'POST /v1/vector_stores',
          'conversations.create': 'POST /v1/conversations',
        },
        delete: { 'files.delete': 'DELETE /v1/files/{id}' },
      },
    ],
  },
  {
    id: 'anthropic',
    hosts: ['api.anthropic.com'],
    errors: { type: 'error', error: { type: '{code}', message: '{detail}' } },
    operations: [
      {
        scopes: EVERYTHING,
        read: {
          'models.list': 'GET /v1/models',
          'models.get': 'GET /v1/models/{model}',
          'batches.list': 'GET /v1/messages/batches',
          'batches.get': 'GET /v1/messages/batches/{id}',
          'files.list': 'GET /v1/files',
          'files.get': 'GET /v1/files/{id}',
          'files.content': 'GET /v1/files/{id}/content',
        },
        write: {
          'messages.create': 'POST /v1/messages',
          'messages.count': 'POST /v1/messages/count_tokens',
          'batches.create': 'POST /v1/messages/batches',
          'batches.cancel': 'POST /v1/messages/batches/{id}/cancel',
          'files.create': { call: 'POST /v1/files', upload: true },
        },
        delete: {
          'batches.delete': 'DELETE /v1/messages/batches/{id}',
          'files.delete': 'DELETE /v1/files/{id}',
        },
      },
    ],
  },
  {
    id: 'stripe',
    hosts: ['api.stripe.com', 'files.stripe.com'],
    errors: { error: { message: '{detail}', type: 'invalid_request_error', code: '{code}' } },
    operations: [
      {
        scopes: EVERYTHING,
        read: {
          ...Object.fromEntries(LISTED.map((name) => [`${name}.list`, `GET /v1/${name}`])),
          ...Object.fromEntries(READ.map((name) => [`${name}.get`, `GET /v1/${name}/{id}`])),
        },
        write: {
          ...Object.fromEntries(MADE.map((name) => [`${name}.create`, `POST /v1/${name}`])),
          'customers.update': 'POST /v1/customers/{id}',
          'files.create': { call: 'POST /v1/files', host: 'files.stripe.com', upload: true },
        },
        delete: { 'customers.delete': 'DELETE /v1/customers/{id}' },
      },
    ],
  },
  {
    id: 'notion',
    hosts: ['api.notion.com'],
    // Its client knows a message by Notion's own codes, and by no other.
    errors: {
      object: 'error',
      status: '{status}',
      code: 'restricted_resource',
      message: '{detail}',
    },
    operations: [
      {
        scopes: EVERYTHING,
        read: {
          'users.me': 'GET /v1/users/me',
          'users.list': 'GET /v1/users',
          'users.get': 'GET /v1/users/{id}',
          'pages.get': 'GET /v1/pages/{id}',
          'pages.property': 'GET /v1/pages/{id}/properties/{property}',
          'blocks.get': 'GET /v1/blocks/{id}',
          'blocks.children': 'GET /v1/blocks/{id}/children',
          'databases.get': 'GET /v1/databases/{id}',
          'dataSources.get': 'GET /v1/data_sources/{id}',
          'comments.list': 'GET /v1/comments',
          'fileUploads.get': 'GET /v1/file_uploads/{id}',
          'fileUploads.list': 'GET /v1/file_uploads',
        },
        write: {
          search: 'POST /v1/search',
          'dataSources.query': 'POST /v1/data_sources/{id}/query',
          'pages.create': 'POST /v1/pages',
          'pages.update': 'PATCH /v1/pages/{id}',
          'blocks.update': 'PATCH /v1/blocks/{id}',
          'blocks.append': 'PATCH /v1/blocks/{id}/children',
          'databases.create': 'POST /v1/databases',
          'databases.update': 'PATCH /v1/databases/{id}',
          'comments.create': 'POST /v1/comments',
          'fileUploads.create': 'POST /v1/file_uploads',
          'fileUploads.send': { call: 'POST /v1/file_uploads/{id}/send', upload: true },
          'fileUploads.complete': 'POST /v1/file_uploads/{id}/complete',
        },
        delete: { 'blocks.delete': 'DELETE /v1/blocks/{id}' },
      },
    ],
  },
]
