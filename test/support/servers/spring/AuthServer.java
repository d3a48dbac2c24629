// Spring Authorization Server as its guide says: sign-in and consent pages are its own. Options: see ../spring.ts.
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.RSAKey;
import com.nimbusds.jose.jwk.source.ImmutableJWKSet;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.proc.SecurityContext;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.interfaces.RSAPublicKey;
import java.time.Duration;
import java.util.List;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.context.properties.bind.Bindable;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.core.annotation.Order;
import org.springframework.core.env.Environment;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetailsService;
import org.springframework.security.crypto.password.NoOpPasswordEncoder;
import org.springframework.security.crypto.password.PasswordEncoder;
import org.springframework.security.oauth2.core.AuthorizationGrantType;
import org.springframework.security.oauth2.core.ClientAuthenticationMethod;
import org.springframework.security.oauth2.server.authorization.client.InMemoryRegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClient;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.config.annotation.web.configurers.OAuth2AuthorizationServerConfigurer;
import org.springframework.security.oauth2.server.authorization.settings.ClientSettings;
import org.springframework.security.oauth2.server.authorization.settings.TokenSettings;
import org.springframework.security.provisioning.InMemoryUserDetailsManager;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.security.web.authentication.LoginUrlAuthenticationEntryPoint;

@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration
class AuthServer {
  public record Client(String id, String secret, List<String> redirectUris, long accessTtl) {}

  public static void main(String[] args) {
    SpringApplication.run(AuthServer.class, args);
  }

  @Bean
  @Order(1)
  SecurityFilterChain endpoints(HttpSecurity http) throws Exception {
    var server = OAuth2AuthorizationServerConfigurer.authorizationServer();
    return http.securityMatcher(server.getEndpointsMatcher())
        .with(server, (it) -> it.oidc(Customizer.withDefaults()))
        .oauth2ResourceServer((it) -> it.jwt(Customizer.withDefaults()))
        .authorizeHttpRequests((it) -> it.anyRequest().authenticated())
        .exceptionHandling((it) -> it.authenticationEntryPoint(new LoginUrlAuthenticationEntryPoint("/login")))
        .build();
  }

  @Bean
  @Order(2)
  SecurityFilterChain pages(HttpSecurity http) throws Exception {
    return http.authorizeHttpRequests((it) -> it.anyRequest().authenticated())
        .formLogin(Customizer.withDefaults())
        .build();
  }

  /** Anything better costs each request, and each introspection, 100 ms of a processor. */
  @Bean
  @SuppressWarnings("deprecation")
  PasswordEncoder passwords() {
    return NoOpPasswordEncoder.getInstance();
  }

  @Bean
  UserDetailsService people(Environment environment) {
    var names = Binder.get(environment).bind("accounts", Bindable.listOf(String.class)).get();
    return new InMemoryUserDetailsManager(
        names.stream().map((name) -> User.withUsername(name).password("pw-" + name).build()).toList());
  }

  @Bean
  RegisteredClientRepository clients(Environment environment) {
    var clients = Binder.get(environment).bind("clients", Bindable.listOf(Client.class)).get();
    return new InMemoryRegisteredClientRepository(clients.stream().map(AuthServer::registered).toList());
  }

  private static RegisteredClient registered(Client client) {
    return RegisteredClient.withId(client.id())
        .clientId(client.id())
        .clientSecret(client.secret())
        .clientAuthenticationMethod(ClientAuthenticationMethod.CLIENT_SECRET_BASIC)
        .authorizationGrantType(AuthorizationGrantType.AUTHORIZATION_CODE)
        .authorizationGrantType(AuthorizationGrantType.REFRESH_TOKEN)
        .redirectUris((uris) -> uris.addAll(client.redirectUris()))
        .scope("openid")
        .scope("notes")
        .clientSettings(ClientSettings.builder().requireProofKey(true).requireAuthorizationConsent(true).build())
        .tokenSettings(
            TokenSettings.builder()
                .accessTokenTimeToLive(Duration.ofSeconds(client.accessTtl()))
                .reuseRefreshTokens(false)
                .build())
        .build();
  }

  @Bean
  JWKSource<SecurityContext> keys() throws Exception {
    KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
    generator.initialize(2048);
    KeyPair pair = generator.generateKeyPair();
    RSAKey key = new RSAKey.Builder((RSAPublicKey) pair.getPublic()).privateKey(pair.getPrivate()).keyID("1").build();
    return new ImmutableJWKSet<>(new JWKSet(key));
  }
}
