// The SDKs of Java, pointed at deputy as docs/sdks.md tells. argument: deputy's origin, which is not needed where the properties
// of docs/forward.md lead there. Each line of standard input asks for one step of one SDK with one tag; each answer is a line of
// its own. Steps run beside each other.
import com.anthropic.client.AnthropicClient;
import com.anthropic.client.okhttp.AnthropicOkHttpClient;
import com.anthropic.errors.AnthropicServiceException;
import com.anthropic.models.messages.MessageCountTokensParams;
import com.anthropic.models.messages.MessageCreateParams;
import com.anthropic.models.messages.Tool;
import com.google.api.client.googleapis.json.GoogleJsonResponseException;
import com.google.api.client.http.ByteArrayContent;
import com.google.api.client.http.apache.v2.ApacheHttpTransport;
import com.google.api.client.json.gson.GsonFactory;
import com.google.api.services.calendar.Calendar;
import com.google.api.services.calendar.model.Event;
import com.google.api.services.calendar.model.FreeBusyRequest;
import com.google.api.services.drive.model.File;
import com.google.api.services.gmail.Gmail;
import com.google.api.services.gmail.model.BatchModifyMessagesRequest;
import com.google.api.services.gmail.model.Draft;
import com.google.api.services.gmail.model.Message;
import com.google.api.services.gmail.model.ModifyMessageRequest;
import com.google.auth.http.HttpCredentialsAdapter;
import com.google.auth.oauth2.AccessToken;
import com.google.auth.oauth2.GoogleCredentials;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import com.microsoft.graph.models.odataerrors.ODataError;
import com.microsoft.graph.serviceclient.GraphServiceClient;
import com.microsoft.graph.users.item.sendmail.SendMailPostRequestBody;
import com.microsoft.kiota.authentication.AccessTokenProvider;
import com.microsoft.kiota.authentication.AllowedHostsValidator;
import com.microsoft.kiota.authentication.BaseBearerTokenAuthenticationProvider;
import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.errors.OpenAIServiceException;
import com.openai.models.batches.BatchCreateParams;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import com.openai.models.embeddings.EmbeddingCreateParams;
import com.openai.models.files.FileCreateParams;
import com.openai.models.files.FilePurpose;
import com.openai.models.images.ImageGenerateParams;
import com.openai.models.moderations.ModerationCreateParams;
import com.openai.models.responses.ResponseCreateParams;
import com.slack.api.Slack;
import com.slack.api.SlackConfig;
import com.slack.api.methods.MethodsClient;
import com.slack.api.methods.SlackApiException;
import com.slack.api.methods.SlackApiTextResponse;
import com.stripe.StripeClient;
import com.stripe.exception.StripeException;
import com.stripe.param.CustomerCreateParams;
import com.stripe.param.CustomerUpdateParams;
import com.stripe.param.InvoiceCreateParams;
import com.stripe.param.PaymentIntentCreateParams;
import com.stripe.param.PriceCreateParams;
import com.stripe.param.ProductCreateParams;
import com.stripe.param.RefundCreateParams;
import com.stripe.param.SubscriptionCreateParams;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.URI;
import java.util.ArrayList;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;
import org.kohsuke.github.GHIssueState;
import org.kohsuke.github.GHPullRequestReviewEvent;
import org.kohsuke.github.GitHub;
import org.kohsuke.github.GitHubBuilder;
import org.kohsuke.github.HttpException;

class Drive {
  static final String UPLOADED = "nine=byte&b=%7";
  static String origin;

  /** Where a host of a vendor's is reached. */
  static String at(String host) {
    return System.getProperty("https.proxyHost") == null ? origin + "/" + host : "https://" + host;
  }

  static String linkIn(String text) {
    var found = Pattern.compile("https?://[^\\s\"]+/connect/[\\w-]+").matcher(text);
    return found.find() ? found.group() : null;
  }

  static Map<String, String> told(String code, String url) {
    var told = new HashMap<String, String>();
    if (code != null) told.put("code", code);
    if (url != null) told.put("url", url);
    return told;
  }

  /** One SDK in the steps of test/sdks/measure.ts. */
  interface Sdk {
    Object who() throws Exception;

    Object pages() throws Exception;

    void upload() throws Exception;

    List<Callable<?>> calls() throws Exception;

    Map<String, String> told(Exception error);
  }

  static class Github implements Sdk {
    final GitHub hub;

    Github(String tag) throws IOException {
      hub = new GitHubBuilder().withEndpoint(at("api.github.com")).withOAuthToken(tag).build();
    }

    public Object who() throws IOException {
      return hub.getMyself().getLogin();
    }

    public Object pages() throws IOException {
      var titles = new ArrayList<String>();
      for (var issue : hub.getRepository("acme/web").queryIssues().list()) titles.add(issue.getTitle());
      return titles;
    }

    public void upload() throws IOException {
      hub.getRepository("acme/web").createContent().path("a.txt").message("x").content(UPLOADED).commit();
    }

    public List<Callable<?>> calls() throws IOException {
      var repo = hub.getRepository("acme/web");
      var issue = repo.getIssue(1);
      var pull = repo.getPullRequest(1);
      return List.of(
          () -> repo.createIssue("x").create(),
          () -> { issue.setTitle("x"); return null; },
          () -> issue.comment("x"),
          () -> issue.addLabels("bug"),
          () -> issue.listComments().toList(),
          () -> repo.listCommits().toList(),
          () -> repo.getFileContent("src/main.java"),
          () -> repo.createContent().path("a.md").message("x").content("x").commit(),
          () -> repo.queryPullRequests().list().toList(),
          () -> repo.createPullRequest("x", "topic", "main", "x"),
          () -> pull.listFiles().toList(),
          () -> pull.createReview().body("x").event(GHPullRequestReviewEvent.COMMENT).create(),
          () -> { pull.merge("x"); return null; },
          () -> repo.getCompare("main", "topic"),
          () -> repo.getTreeRecursive("main", 1),
          () -> repo.createRef("refs/heads/x", "abc"),
          () -> repo.queryWorkflowRuns().list().toList(),
          () -> hub.searchIssues().q("is:open").list().toList(),
          () -> hub.searchContent().q("x").list().toList(),
          () -> repo.getBranch("main"));
    }

    public Map<String, String> told(Exception error) {
      var cause = error.getCause() instanceof HttpException inner ? inner : (HttpException) error;
      return Drive.told(cause.getResponseHeaderFields().get("Deputy-Answer").get(0), linkIn(cause.getMessage()));
    }
  }

  static class SlackApi implements Sdk {
    final MethodsClient web;

    SlackApi(String tag) {
      var config = new SlackConfig();
      config.setMethodsEndpointUrlPrefix(at("slack.com/api/"));
      web = Slack.getInstance(config).methods(tag);
    }

    public Object who() throws Exception {
      return web.authTest(r -> r).getUser();
    }

    public Object pages() throws Exception {
      var ids = new ArrayList<String>();
      String cursor = null;
      do {
        var next = cursor;
        var page = web.conversationsList(r -> r.limit(1).cursor(next));
        page.getChannels().forEach(channel -> ids.add(channel.getId()));
        cursor = page.getResponseMetadata().getNextCursor();
      } while (!cursor.isEmpty());
      return ids;
    }

    public void upload() throws Exception {
      web.filesUploadV2(r -> r.filename("a.txt").content(UPLOADED).channel("C1").requestFileInfo(false));
    }

    public List<Callable<?>> calls() {
      return List.<Callable<? extends SlackApiTextResponse>>of(
          () -> web.authTest(r -> r),
          () -> web.conversationsList(r -> r),
          () -> web.conversationsInfo(r -> r.channel("C1")),
          () -> web.conversationsHistory(r -> r.channel("C1")),
          () -> web.conversationsReplies(r -> r.channel("C1").ts("1.2")),
          () -> web.conversationsMembers(r -> r.channel("C1")),
          () -> web.conversationsOpen(r -> r.users(List.of("U1"))),
          () -> web.conversationsJoin(r -> r.channel("C1")),
          () -> web.chatPostMessage(r -> r.channel("C1").text("x")),
          () -> web.chatUpdate(r -> r.channel("C1").ts("1.2").text("x")),
          () -> web.chatDelete(r -> r.channel("C1").ts("1.2")),
          () -> web.chatPostEphemeral(r -> r.channel("C1").user("U1").text("x")),
          () -> web.chatScheduleMessage(r -> r.channel("C1").text("x").postAt(1)),
          () -> web.chatGetPermalink(r -> r.channel("C1").messageTs("1.2")),
          () -> web.usersList(r -> r),
          () -> web.usersInfo(r -> r.user("U1")),
          () -> web.usersLookupByEmail(r -> r.email("ann@corp.test")),
          () -> web.searchMessages(r -> r.query("x")),
          () -> web.reactionsAdd(r -> r.channel("C1").timestamp("1.2").name("eyes")),
          () -> web.pinsAdd(r -> r.channel("C1").timestamp("1.2")),
          () -> web.filesList(r -> r)).stream().<Callable<?>>map(call -> call).toList();
    }

    public Map<String, String> told(Exception error) {
      var answer = (SlackApiException) error;
      return Drive.told(answer.getResponse().header("Deputy-Answer"), linkIn(answer.getResponseBody()));
    }
  }

  static class Google implements Sdk {
    final Gmail gmail;
    final com.google.api.services.drive.Drive drive;
    final Calendar calendar;

    Google(String tag) {
      // Not NetHttpTransport: it cannot say PATCH, and names it in a header of a POST, which deputy refuses.
      var transport = new ApacheHttpTransport();
      var json = GsonFactory.getDefaultInstance();
      var later = new Date(System.currentTimeMillis() + 3_600_000);
      var credentials = new HttpCredentialsAdapter(GoogleCredentials.create(new AccessToken(tag, later)));
      gmail = new Gmail.Builder(transport, json, credentials).setRootUrl(at("gmail.googleapis.com/")).setApplicationName("x").build();
      drive = new com.google.api.services.drive.Drive.Builder(transport, json, credentials).setRootUrl(at("www.googleapis.com/")).setApplicationName("x").build();
      calendar = new Calendar.Builder(transport, json, credentials).setRootUrl(at("www.googleapis.com/")).setApplicationName("x").build();
    }

    public Object who() throws IOException {
      return gmail.users().getProfile("me").execute().getEmailAddress();
    }

    public Object pages() throws IOException {
      var ids = new ArrayList<String>();
      var request = gmail.users().messages().list("me");
      do {
        var page = request.execute();
        page.getMessages().forEach(message -> ids.add(message.getId()));
        request.setPageToken(page.getNextPageToken());
      } while (request.getPageToken() != null);
      return ids;
    }

    public void upload() throws IOException {
      var media = new ByteArrayContent("text/plain", UPLOADED.getBytes());
      var create = drive.files().create(new File().setName("a.txt"), media);
      create.execute();
    }

    public List<Callable<?>> calls() throws IOException {
      var users = gmail.users();
      var events = calendar.events();
      var files = drive.files();
      var mail = new Message().setRaw("VG86IGFubkBjb3JwLnRlc3QNCg0KaGVsbG8=");
      return List.of(
          () -> users.getProfile("me").execute(),
          () -> users.messages().list("me").execute(),
          () -> users.messages().get("me", "1").execute(),
          () -> users.messages().send("me", mail).execute(),
          () -> users.messages().modify("me", "1", new ModifyMessageRequest().setAddLabelIds(List.of("x"))).execute(),
          () -> users.messages().batchModify("me", new BatchModifyMessagesRequest().setIds(List.of("1"))).execute(),
          () -> users.threads().get("me", "1").execute(),
          () -> users.drafts().create("me", new Draft().setMessage(mail)).execute(),
          () -> users.labels().list("me").execute(),
          () -> calendar.calendarList().list().execute(),
          () -> events.list("primary").execute(),
          () -> events.insert("primary", new Event().setSummary("x")).execute(),
          () -> events.patch("primary", "1", new Event().setSummary("x")).execute(),
          () -> events.delete("primary", "1").execute(),
          () -> calendar.freebusy().query(new FreeBusyRequest()).execute(),
          () -> files.list().execute(),
          () -> files.get("1").execute(),
          () -> files.export("1", "text/plain").execute(),
          () -> drive.permissions().list("1").execute(),
          () -> drive.comments().list("1").setFields("*").execute(),
          () -> drive.changes().getStartPageToken().execute());
    }

    public Map<String, String> told(Exception error) {
      var answer = (GoogleJsonResponseException) error;
      return Drive.told(answer.getHeaders().getFirstHeaderStringValue("Deputy-Answer"), linkIn(answer.getContent()));
    }
  }

  static class MsGraph implements Sdk {
    final GraphServiceClient graph;

    MsGraph(String tag) {
      var provider = new AccessTokenProvider() {
        public String getAuthorizationToken(URI uri, Map<String, Object> more) {
          return tag;
        }

        public AllowedHostsValidator getAllowedHostsValidator() {
          return new AllowedHostsValidator();
        }
      };
      graph = new GraphServiceClient(new BaseBearerTokenAuthenticationProvider(provider));
      graph.getRequestAdapter().setBaseUrl(at("graph.microsoft.com/v1.0"));
    }

    public Object who() {
      return graph.me().get().getUserPrincipalName();
    }

    public Object pages() {
      var ids = new ArrayList<String>();
      var page = graph.me().messages().get();
      while (page != null) {
        page.getValue().forEach(message -> ids.add(message.getId()));
        var link = page.getOdataNextLink();
        page = link == null ? null : graph.me().messages().withUrl(link).get();
      }
      return ids;
    }

    public void upload() {
      graph.drives().byDriveId("d").items().byDriveItemId("1").content().put(new ByteArrayInputStream(UPLOADED.getBytes()));
    }

    public List<Callable<?>> calls() {
      var me = graph.me();
      var event = new com.microsoft.graph.models.Event();
      var message = new com.microsoft.graph.models.Message();
      event.setSubject("x");
      message.setSubject("x");
      var mail = new SendMailPostRequestBody();
      mail.setMessage(message);
      return List.of(
          () -> me.get(),
          () -> me.messages().get(),
          () -> me.messages().byMessageId("1").get(),
          () -> me.messages().byMessageId("1").attachments().get(),
          () -> me.messages().byMessageId("1").patch(message),
          () -> me.mailFolders().byMailFolderId("inbox").messages().get(),
          () -> { me.sendMail().post(mail); return null; },
          () -> me.events().get(),
          () -> me.events().post(event),
          () -> { me.events().byEventId("1").delete(); return null; },
          () -> me.calendarView().get(),
          () -> me.drive().get(),
          () -> graph.drives().byDriveId("d").items().byDriveItemId("1").content().get(),
          () -> me.joinedTeams().get(),
          () -> graph.teams().byTeamId("1").channels().byChannelId("2").messages().get(),
          () -> me.chats().get(),
          () -> me.contacts().get(),
          () -> me.people().get(),
          () -> graph.users().byUserId("ann@corp.test").get(),
          () -> graph.sites().bySiteId("root").get());
    }

    public Map<String, String> told(Exception error) {
      return Drive.told(((ODataError) error).getError().getCode(), linkIn(error.getMessage()));
    }
  }

  static class OpenAi implements Sdk {
    final OpenAIClient ai;

    OpenAi(String tag) {
      ai = OpenAIOkHttpClient.builder().apiKey(tag).baseUrl(at("api.openai.com/v1")).build();
    }

    public Object who() {
      return ai.models().list().data().get(0).ownedBy();
    }

    public Object pages() {
      var ids = new ArrayList<String>();
      for (var file : ai.files().list().autoPager()) ids.add(file.id());
      return ids;
    }

    public void upload() {
      ai.files().create(FileCreateParams.builder().file(UPLOADED.getBytes()).purpose(FilePurpose.USER_DATA).build());
    }

    public List<Callable<?>> calls() {
      var chat = ChatCompletionCreateParams.builder().model("gpt").addUserMessage("x").build();
      var question = ResponseCreateParams.builder().model("gpt").input("x").build();
      var batch = BatchCreateParams.builder().inputFileId("f").endpoint(BatchCreateParams.Endpoint.V1_RESPONSES)
          .completionWindow(BatchCreateParams.CompletionWindow._24H).build();
      return List.of(
          () -> ai.models().list(),
          () -> ai.models().retrieve("gpt"),
          () -> ai.chat().completions().create(chat),
          () -> drained(ai.chat().completions().createStreaming(chat)),
          () -> ai.responses().create(question),
          () -> drained(ai.responses().createStreaming(question)),
          () -> ai.responses().retrieve("r"),
          () -> ai.embeddings().create(EmbeddingCreateParams.builder().model("e").input("x").build()),
          () -> ai.moderations().create(ModerationCreateParams.builder().input("x").build()),
          () -> ai.images().generate(ImageGenerateParams.builder().prompt("x").build()),
          () -> ai.files().list(),
          () -> ai.files().retrieve("f"),
          () -> drained(ai.files().content("f")),
          () -> ai.files().delete("f"),
          () -> ai.batches().list(),
          () -> ai.batches().retrieve("b"),
          () -> ai.batches().create(batch),
          () -> ai.vectorStores().list(),
          () -> ai.vectorStores().create(),
          () -> ai.vectorStores().retrieve("v"),
          () -> ai.fineTuning().jobs().list());
    }

    public Map<String, String> told(Exception error) {
      var answer = (OpenAIServiceException) error;
      return Drive.told(answer.headers().values("Deputy-Answer").get(0), linkIn(answer.getMessage()));
    }
  }

  static class Anthropic implements Sdk {
    final AnthropicClient ai;

    Anthropic(String tag) {
      ai = AnthropicOkHttpClient.builder().authToken(tag).baseUrl(at("api.anthropic.com")).build();
    }

    public Object who() {
      return ai.models().list().data().get(0).displayName();
    }

    public Object pages() {
      var ids = new ArrayList<String>();
      for (var file : ai.beta().files().list().autoPager()) ids.add(file.id());
      return ids;
    }

    public void upload() {
      ai.beta().files().upload(com.anthropic.models.beta.files.FileUploadParams.builder().file(UPLOADED.getBytes()).build());
    }

    static MessageCreateParams.Builder ask() {
      return MessageCreateParams.builder().model("claude").maxTokens(9).addUserMessage("x");
    }

    public List<Callable<?>> calls() {
      var tool = Tool.builder().name("a").inputSchema(Tool.InputSchema.builder().build()).build();
      var count = MessageCountTokensParams.builder().model("claude").addUserMessage("x").build();
      var asked = com.anthropic.models.messages.batches.BatchCreateParams.Request.builder().customId("1").params(
          com.anthropic.models.messages.batches.BatchCreateParams.Request.Params.builder().model("claude").maxTokens(9).addUserMessage("x").build()).build();
      var batch = com.anthropic.models.messages.batches.BatchCreateParams.builder().addRequest(asked).build();
      var batches = ai.messages().batches();
      var files = ai.beta().files();
      return List.of(
          () -> ai.models().list(),
          () -> ai.models().retrieve("claude"),
          () -> ai.messages().create(ask().build()),
          () -> drained(ai.messages().createStreaming(ask().build())),
          () -> ai.messages().create(ask().system("x").build()),
          () -> ai.messages().create(ask().addTool(tool).build()),
          () -> ai.messages().countTokens(count),
          () -> batches.list(),
          () -> batches.retrieve("b"),
          () -> batches.create(batch),
          () -> batches.cancel("b"),
          () -> batches.delete("b"),
          () -> files.list(),
          () -> files.retrieveMetadata("f"),
          () -> drained(files.download("f")),
          () -> files.delete("f"),
          () -> drained(batches.resultsStreaming("b")),
          () -> ai.beta().messages().create(com.anthropic.models.beta.messages.MessageCreateParams.builder().model("claude").maxTokens(9).addUserMessage("x").build()),
          () -> ai.beta().models().list(),
          () -> ai.beta().models().retrieve("claude"));
    }

    public Map<String, String> told(Exception error) {
      var answer = (AnthropicServiceException) error;
      return Drive.told(answer.headers().values("Deputy-Answer").get(0), linkIn(answer.getMessage()));
    }
  }

  static class Stripe implements Sdk {
    final com.stripe.service.V1Services v1;

    Stripe(String tag) {
      v1 = StripeClient.builder().setApiKey(tag).setApiBase(at("api.stripe.com")).setFilesBase(at("files.stripe.com")).build().v1();
    }

    public Object who() throws StripeException {
      return v1.accounts().retrieveCurrent().getEmail();
    }

    public Object pages() throws StripeException {
      var ids = new ArrayList<String>();
      for (var customer : v1.customers().list().autoPagingIterable()) ids.add(customer.getId());
      return ids;
    }

    public void upload() throws StripeException {
      var file = new ByteArrayInputStream(UPLOADED.getBytes());
      var purpose = com.stripe.param.FileCreateParams.Purpose.DISPUTE_EVIDENCE;
      v1.files().create(com.stripe.param.FileCreateParams.builder().setFile(file).setPurpose(purpose).build());
    }

    public List<Callable<?>> calls() {
      var price = PriceCreateParams.builder().setCurrency("eur").setProduct("p").setUnitAmount(1L).build();
      var item = SubscriptionCreateParams.Item.builder().setPrice("p").build();
      return List.of(
          () -> v1.balance().retrieve(),
          () -> v1.customers().list(),
          () -> v1.customers().retrieve("c"),
          () -> v1.customers().create(CustomerCreateParams.builder().setEmail("a@b.test").putMetadata("a", "1").build()),
          () -> v1.customers().update("c", CustomerUpdateParams.builder().setName("x").build()),
          () -> v1.customers().delete("c"),
          () -> v1.charges().list(),
          () -> v1.invoices().list(),
          () -> v1.invoices().retrieve("i"),
          () -> v1.invoices().create(InvoiceCreateParams.builder().setCustomer("c").build()),
          () -> v1.products().list(),
          () -> v1.products().create(ProductCreateParams.builder().setName("x").build()),
          () -> v1.products().retrieve("p"),
          () -> v1.prices().list(),
          () -> v1.prices().create(price),
          () -> v1.subscriptions().retrieve("s"),
          () -> v1.subscriptions().create(SubscriptionCreateParams.builder().setCustomer("c").addItem(item).build()),
          () -> v1.paymentIntents().create(PaymentIntentCreateParams.builder().setAmount(1L).setCurrency("eur").build()),
          () -> v1.paymentIntents().retrieve("p"),
          () -> v1.refunds().create(RefundCreateParams.builder().setPaymentIntent("p").build()),
          () -> v1.events().list());
    }

    public Map<String, String> told(Exception error) {
      return Drive.told(((StripeException) error).getCode(), linkIn(error.getMessage()));
    }
  }

  /** Reads all of an answer that comes bit by bit. */
  static Object drained(com.openai.core.http.StreamResponse<?> answer) {
    try (answer) {
      return answer.stream().count();
    }
  }

  static Object drained(com.openai.core.http.HttpResponse answer) throws IOException {
    try (answer) {
      return answer.body().readAllBytes();
    }
  }

  static Object drained(com.anthropic.core.http.StreamResponse<?> answer) {
    try (answer) {
      return answer.stream().count();
    }
  }

  static Object drained(com.anthropic.core.http.HttpResponse answer) throws IOException {
    try (answer) {
      return answer.body().readAllBytes();
    }
  }

  static Sdk made(String sdk, String tag) throws Exception {
    return switch (sdk) {
      case "github-api" -> new Github(tag);
      case "slack-api-client" -> new SlackApi(tag);
      case "google-api-client" -> new Google(tag);
      case "microsoft-graph" -> new MsGraph(tag);
      case "openai-java" -> new OpenAi(tag);
      case "anthropic-java" -> new Anthropic(tag);
      case "stripe-java" -> new Stripe(tag);
      default -> throw new IllegalArgumentException("there is no " + sdk);
    };
  }

  static Object done(Sdk sdk, String step) throws Exception {
    switch (step) {
      case "who":
        return sdk.who();
      case "pages":
        return sdk.pages();
      case "upload":
        sdk.upload();
        return null;
      default:
        // What a client makes of so poor an answer does not matter: what was sent is counted where it arrives.
        for (var call : sdk.calls())
          try {
            call.call();
          } catch (Exception error) {
            System.err.println(error);
          }
        return null;
    }
  }

  public static void main(String[] args) throws Exception {
    origin = args[0];
    var gson = new GsonBuilder().serializeNulls().create();
    var steps = Executors.newFixedThreadPool(16);
    var in = new Scanner(System.in);
    while (in.hasNextLine()) {
      var asked = gson.fromJson(in.nextLine(), JsonObject.class);
      steps.execute(() -> {
        var said = new HashMap<String, Object>(Map.of("id", asked.get("id")));
        Sdk sdk = null;
        try {
          sdk = made(asked.get("sdk").getAsString(), asked.get("tag").getAsString());
          said.put("value", done(sdk, asked.get("step").getAsString()));
        } catch (Exception error) {
          said.put("error", error.toString());
          try {
            said.put("told", sdk.told(error));
          } catch (RuntimeException other) {
            said.put("told", Map.of());
          }
        }
        synchronized (System.out) {
          System.out.println(gson.toJson(said));
        }
      });
    }
    steps.shutdown();
  }
}
