// A real OpenID Connect provider (npm oidc-provider) for tests: its own sign-in page takes any name.
// node openid_provider.mjs PORT REDIRECT_URI; people by name, roles in realm_access.roles.
import Provider from "oidc-provider";

const [port, redirectUri] = process.argv.slice(2);
const roles = { reader: ["reviewer", "other"], chief: ["viewer", "administrator"], guest: ["visitor"] };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: "medseg", client_secret: "a secret of the tests", redirect_uris: [redirectUri],
    grant_types: ["authorization_code"], response_types: ["code"],
  }],
  claims: { openid: ["sub"], profile: ["preferred_username", "family_name", "given_name", "realm_access"] },
  cookies: { keys: ["a key of the tests"] },
  pkce: { required: () => true },
  findAccount: (_context, sub) => ({
    accountId: sub,
    claims: () => ({
      sub, preferred_username: sub, family_name: "PHANTOM", given_name: sub,
      ...(roles[sub] ? { realm_access: { roles: roles[sub] } } : {}),
    }),
  }),
});
provider.listen(Number(port), "127.0.0.1");
