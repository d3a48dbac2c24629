// Clients of HTTP that Java's SDKs are made of, each with its defaults. arguments: where the provider is, by its usual name or
// through deputy. For each address, client and person one line of JSON says what came.
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import okhttp3.MediaType;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.RequestBody;
import org.apache.hc.client5.http.classic.methods.HttpUriRequestBase;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.core5.http.ContentType;
import org.apache.hc.core5.http.io.entity.ByteArrayEntity;

class Plain {
  static final String BYTES = "application/octet-stream";

  record Answer(int status, String version, InputStream body) {
    String text() throws Exception {
      return new String(body.readAllBytes());
    }
  }

  interface Client {
    Answer send(String method, String url, String person, byte[] body) throws Exception;
  }

  /** Over plain http it asks in its first request whether it may go on in HTTP/2 (`Upgrade: h2c`). */
  static Client jdk() {
    var client = HttpClient.newHttpClient();
    return (method, url, person, body) -> {
      var publisher = body == null ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(body);
      var request = HttpRequest.newBuilder(URI.create(url)).method(method, publisher).header("Deputy-User", person);
      if (body != null) request.header("Content-Type", BYTES);
      var answer = client.send(request.build(), BodyHandlers.ofInputStream());
      return new Answer(answer.statusCode(), answer.version().toString(), answer.body());
    };
  }

  static Client okhttp() {
    var client = new OkHttpClient();
    return (method, url, person, body) -> {
      var content = body == null ? null : RequestBody.create(body, MediaType.get(BYTES));
      var request = new Request.Builder().url(url).method(method, content).header("Deputy-User", person).build();
      var answer = client.newCall(request).execute();
      return new Answer(answer.code(), answer.protocol().name(), answer.body().byteStream());
    };
  }

  static Client apache() {
    var client = HttpClients.createSystem();
    return (method, url, person, body) -> {
      var request = new HttpUriRequestBase(method, URI.create(url));
      if (body != null) request.setEntity(new ByteArrayEntity(body, ContentType.APPLICATION_OCTET_STREAM));
      request.setHeader("Deputy-User", person);
      var answer = client.executeOpen(null, request, null);
      return new Answer(answer.getCode(), answer.getVersion().toString(), answer.getEntity().getContent());
    };
  }

  /** What each comes first to a connection of its own. */
  static Map<String, Object> tried(Supplier<Client> made, String at, String person) throws Exception {
    var said = new LinkedHashMap<String, Object>();
    var got = made.get().send("GET", at + "/get", person, null);
    said.put("version", got.version());
    said.put("get", got.text());
    said.put("post", made.get().send("POST", at + "/post", person, "nine=byte&b=%7".getBytes()).text());
    var client = made.get();
    try (var events = new BufferedReader(new InputStreamReader(client.send("GET", at + "/events", person, null).body()))) {
      var first = events.readLine();
      client.send("POST", at + "/go", person, new byte[1]).text();
      said.put("events", List.of(first, events.readLine()));
    }
    // More than any window of HTTP/2 holds, and refused before all of it has come.
    var refused = made.get().send("PUT", at + "/put", "dave", new byte[1_000_000]);
    said.put("refused", new ObjectMapper().readTree(refused.text()).get("code"));
    return said;
  }

  public static void main(String[] args) throws Exception {
    var clients = Map.<String, Supplier<Client>>of("jdk", Plain::jdk, "okhttp", Plain::okhttp, "apache", Plain::apache);
    var all = new LinkedHashMap<String, Object>();
    for (var at : args)
      for (var client : clients.entrySet())
        for (var person : List.of("alice", "bob"))
          all.put(client.getKey() + " " + person + " " + at, tried(client.getValue(), at, person));
    System.out.println(new ObjectMapper().writeValueAsString(all));
    // OkHttp's threads live on for a while.
    System.exit(0);
  }
}
