// What is known of each SDK: the test beside this measures every row, and docs/sdks.md is made of them.

/** The vendors by what they say of the two people: Backlot's where it serves the vendor, else the stand-in. */
export const WHO = {
  standin: ['alice', 'bob'],
  google: ['ava.chen@acme.com', 'bob.iyer@acme.com'],
  microsoft: ['ava.chen@acme.com', 'bob.iyer@acme.com'],
  slack: ['avachen', 'bobiyer'],
  notion: ['Ava Chen', 'Bob Iyer'],
} as const

export type Row = {
  readonly sdk: string
  readonly language: 'JavaScript' | 'Python' | 'Go' | 'Java'
  /** How it is pointed at deputy, and where the tag goes. */
  readonly point: string
  readonly who: keyof typeof WHO
  /** Typical calls, and those of them that no operation of the definition is. */
  readonly calls: number
  readonly unknown: number
  readonly pages: boolean
  readonly upload: boolean
  /** Where its exception holds the code and the link. */
  readonly error: string
  /** Calls that its first question makes where all are refused: some ask before that who they are. */
  readonly asks: number
  readonly told: { readonly code: boolean; readonly url: boolean }
  /** Whether it repeats a 429 and a 503 of deputy's by itself, and then gets its answer. */
  readonly again: { readonly 429: boolean; readonly 503: boolean }
}

const BOTH = { code: true, url: true } as const
const NEVER = { 429: false, 503: false } as const
const ALWAYS = { 429: true, 503: true } as const
const row = (
  language: Row['language'],
  sdk: string,
  point: string,
  error: string,
  rest: Partial<Row> & Pick<Row, 'calls'>,
): Row => ({
  language,
  sdk,
  point,
  error,
  who: 'standin',
  unknown: 0,
  pages: true,
  upload: true,
  asks: 1,
  told: BOTH,
  again: NEVER,
  ...rest,
})

export const ROWS: readonly Row[] = [
  row(
    'JavaScript',
    '@octokit/rest',
    "new Octokit({ baseUrl: deputy + '/api.github.com', auth: tag })",
    "`e.response.headers['deputy-answer']`, `e.response.data.url`",
    { calls: 25 },
  ),
  row(
    'JavaScript',
    '@googleapis/*',
    "gmail({ version: 'v1', auth, fetchImplementation: (url, init) => fetch(String(url).replace('https://', deputy + '/'), init) })",
    "`e.response.headers.get('deputy-answer')`, `e.response.data.url`",
    { calls: 26, who: 'google', again: ALWAYS },
  ),
  row(
    'JavaScript',
    '@microsoft/microsoft-graph-client',
    "Client.init({ baseUrl: deputy + '/graph.microsoft.com/', authProvider, fetchOptions: { headers: { 'Deputy-User': tag } } })",
    '`e.code`; the link is in `e.message`',
    { calls: 48, who: 'microsoft', again: ALWAYS },
  ),
  row(
    'JavaScript',
    '@slack/web-api',
    "new WebClient(tag, { slackApiUrl: deputy + '/slack.com/api/', retryConfig: { retries: 0 } })",
    "`e.headers['deputy-answer']`, `e.body.url`",
    { calls: 26, who: 'slack' },
  ),
  row(
    'JavaScript',
    '@hubspot/api-client',
    "new Client({ basePath: deputy + '/api.hubapi.com', accessToken: tag })",
    "`e.headers['deputy-answer']`, `e.body.url`",
    { calls: 26, unknown: 5, upload: false },
  ),
  row(
    'JavaScript',
    '@jsforce/jsforce-node',
    "new Connection({ instanceUrl: deputy + '/acme.my.salesforce.com', accessToken: tag })",
    '`e.errorCode`, in capitals; the link is in `e.message`',
    { calls: 22, upload: false, again: ALWAYS },
  ),
  row(
    'JavaScript',
    '@linear/sdk',
    "new LinearClient({ apiUrl: deputy + '/api.linear.app/graphql', accessToken: '-', headers: { 'Deputy-User': tag } })",
    "`e.raw.response.headers.get('deputy-answer')`; the link is in `e.message`",
    { calls: 24, upload: false },
  ),
  row(
    'JavaScript',
    '@notionhq/client',
    "new Client({ auth: tag, baseUrl: deputy + '/api.notion.com' })",
    "`e.headers.get('deputy-answer')`, `JSON.parse(e.body).url`",
    { calls: 23, who: 'notion' },
  ),
  row(
    'JavaScript',
    'openai',
    "new OpenAI({ apiKey: tag, baseURL: deputy + '/api.openai.com/v1' })",
    "`e.headers.get('deputy-answer')`; the link is in `e.message`",
    { calls: 23, again: ALWAYS },
  ),
  row(
    'JavaScript',
    '@anthropic-ai/sdk',
    "new Anthropic({ apiKey: null, authToken: tag, baseURL: deputy + '/api.anthropic.com' })",
    "`e.headers.get('deputy-answer')`, `e.error.url`",
    { calls: 20, again: ALWAYS },
  ),
  row(
    'JavaScript',
    'stripe',
    "new Stripe(tag, { httpClient: Stripe.createFetchHttpClient((url, init) => fetch(String(url).replace('https://', deputy + '/'), init)) })",
    "`e.headers['deputy-answer']`; the link is in `e.message`",
    { calls: 27, again: { 429: false, 503: true } },
  ),
  row(
    'Python',
    'PyGithub',
    "Github(auth=Auth.Token(tag), base_url=deputy + '/api.github.com')",
    "`e.headers['deputy-answer']`, `e.data['url']`",
    { calls: 23, again: ALWAYS },
  ),
  row(
    'Python',
    'google-api-python-client',
    "build('gmail', 'v1', credentials=Credentials(tag), client_options={'api_endpoint': deputy + '/gmail.googleapis.com'})",
    "`e.resp['deputy-answer']`; the link is in `str(e)`",
    { calls: 21, who: 'google' },
  ),
  row(
    'Python',
    'msgraph-sdk',
    "adapter.base_url = deputy + '/graph.microsoft.com/v1.0'",
    '`e.error.code`; the link is in `str(e)`',
    { calls: 20, who: 'microsoft', again: ALWAYS },
  ),
  row(
    'Python',
    'slack_sdk',
    "WebClient(token=tag, base_url=deputy + '/slack.com/api/')",
    "`e.response.headers['deputy-answer']`, `e.response.data['url']`",
    { calls: 21, who: 'slack' },
  ),
  row(
    'Python',
    'simple-salesforce',
    "HTTPS_PROXY; Salesforce(instance='acme.my.salesforce.com', session_id=tag)",
    "`e.content[0]['errorCode']`, in capitals; the link is in `str(e)`",
    { calls: 20, unknown: 1, upload: false },
  ),
  row(
    'Python',
    'openai',
    "OpenAI(api_key=tag, base_url=deputy + '/api.openai.com/v1')",
    "`e.response.headers['deputy-answer']`, `e.response.json()['url']`",
    { calls: 21, again: ALWAYS },
  ),
  row(
    'Python',
    'anthropic',
    "Anthropic(auth_token=tag, base_url=deputy + '/api.anthropic.com')",
    "`e.response.headers['deputy-answer']`, `e.body['url']`",
    { calls: 20, again: ALWAYS },
  ),
  row(
    'Python',
    'hubspot-api-client',
    "client = hubspot.Client.create(access_token=tag); client.config['host'] = deputy + '/api.hubapi.com'",
    "`e.headers['deputy-answer']`, `json.loads(e.body)['url']`",
    { calls: 22, unknown: 2, upload: false, again: ALWAYS },
  ),
  row(
    'Python',
    'stripe',
    "StripeClient(tag, base_addresses={'api': deputy + '/api.stripe.com', 'files': deputy + '/files.stripe.com'})",
    "`e.headers['deputy-answer']`; the link is in `str(e)`",
    { calls: 22 },
  ),
  row(
    'Go',
    'go-github',
    'client.BaseURL = deputy + "/api.github.com/", client.UploadURL = deputy + "/uploads.github.com/", WithAuthToken(tag)',
    '`e.Response.Header`; the link is in `e.Error()`',
    { calls: 21 },
  ),
  row(
    'Go',
    'slack-go',
    'slack.New(tag, slack.OptionAPIURL(deputy + "/slack.com/api/"))',
    'nowhere: it drops the body and header of every answer that is not 200',
    { calls: 20, who: 'slack', upload: false, told: { code: false, url: false } },
  ),
  row(
    'Java',
    'github-api',
    'new GitHubBuilder().withEndpoint(deputy + "/api.github.com").withOAuthToken(tag).build()',
    '`e.getResponseHeaderFields()`; the link is in `e.getMessage()`',
    { calls: 24, asks: 2, again: { 429: true, 503: false } },
  ),
  row(
    'Java',
    'slack-api-client',
    'config.setMethodsEndpointUrlPrefix(deputy + "/slack.com/api/"), Slack.getInstance(config).methods(tag)',
    '`e.getResponse().header("Deputy-Answer")`; the link is in `e.getResponseBody()`',
    { calls: 21, who: 'slack', asks: 2 },
  ),
  row(
    'Java',
    'google-api-client',
    'JAVA_TOOL_OPTIONS; new Gmail.Builder(new ApacheHttpTransport(), json, new HttpCredentialsAdapter(GoogleCredentials.create(tag))).build()',
    '`e.getHeaders().getFirstHeaderStringValue("Deputy-Answer")`; the link is in `e.getContent()`',
    { calls: 21, who: 'google' },
  ),
  row(
    'Java',
    'microsoft-graph',
    'graph.getRequestAdapter().setBaseUrl(deputy + "/graph.microsoft.com/v1.0")',
    '`e.getError().getCode()`; the link is in `e.getMessage()`',
    { calls: 20, who: 'microsoft', again: ALWAYS },
  ),
  row(
    'Java',
    'openai-java',
    'OpenAIOkHttpClient.builder().apiKey(tag).baseUrl(deputy + "/api.openai.com/v1").build()',
    '`e.headers().values("Deputy-Answer")`; the link is in `e.getMessage()`',
    { calls: 21, again: ALWAYS },
  ),
  row(
    'Java',
    'anthropic-java',
    'AnthropicOkHttpClient.builder().authToken(tag).baseUrl(deputy + "/api.anthropic.com").build()',
    '`e.headers().values("Deputy-Answer")`; the link is in `e.getMessage()`',
    { calls: 20, again: ALWAYS },
  ),
  row(
    'Java',
    'stripe-java',
    'StripeClient.builder().setApiKey(tag).setApiBase(deputy + "/api.stripe.com").setFilesBase(deputy + "/files.stripe.com").build()',
    '`e.getCode()`; the link is in `e.getMessage()`',
    { calls: 21 },
  ),
]
