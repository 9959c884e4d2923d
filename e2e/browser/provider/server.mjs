// An OpenID Connect issuer that nobody here wrote, with the pages for people that it
// brings for development: any user name and password log in.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const { ISSUER, PORT, CERT, KEY, ALGORITHM } = process.env;
const jwk = (type, options, alg) => ({ ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: alg });

const provider = new Provider(ISSUER, {
  clients: [{
    client_id: 'kubectl', application_type: 'native', token_endpoint_auth_method: 'none',
    redirect_uris: ['http://localhost'], response_types: ['code'], id_token_signed_response_alg: ALGORITHM,
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  }],
  cookies: { keys: ['only for tests'] },
  jwks: { keys: [jwk('ec', { namedCurve: 'P-256' }, 'ES256'), jwk('rsa', { modulusLength: 2048 }, 'PS256')] },
  enabledJWA: { idTokenSigningAlgValues: ['ES256', 'PS256'] },
  features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
  pkce: { required: () => true },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});
provider.proxy = true;

createServer({ cert: readFileSync(CERT), key: readFileSync(KEY) }, provider.callback()).listen(PORT, '127.0.0.1');
