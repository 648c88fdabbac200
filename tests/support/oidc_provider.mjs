// A provider of OpenID Connect, as it was certified: the package `oidc-provider`.
// node oidc_provider.mjs ISSUER REDIRECT_URI; everybody is let in by the name that the form sends.
import Provider from "./npm/node_modules/oidc-provider/lib/index.js";

const [issuer, redirectUri] = process.argv.slice(2);
const client = { redirect_uris: [redirectUri], grant_types: ["authorization_code"] };
const provider = new Provider(issuer, {
  clients: [
    { ...client, client_id: "console", client_secret: "secret of the console: %&+" },
    { ...client, client_id: "public", token_endpoint_auth_method: "none" },
  ],
  claims: { profile: ["preferred_username", "groups", "realm_access"] },
  conformIdTokenClaims: false,
  pkce: { required: () => true, methods: ["S256"] },
  ttl: { IdToken: 900 },
  findAccount: (_, name) => ({
    accountId: name,
    claims: () => ({ sub: name, preferred_username: name, groups: ["/nlp"] }),
  }),
});
provider.listen(Number(new URL(issuer).port), "127.0.0.1", () => console.log("ready"));
