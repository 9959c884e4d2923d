package identityheaders

// Headers by which proxies and gateways tell the server behind them who is
// calling, in normal form. This proxy tells it in headers of its own, so what a
// client brings in these is nobody's word. Shards read none of them; what stands
// behind another mapping, or beside a shard, may.
var (
	assertingHeaders = []string{
		"x-forwarded-client-cert",                                                                                                   // Envoy, Istio
		"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username", "x-forwarded-access-token", // oauth2-proxy
		"client-cert", "client-cert-chain", // RFC 9440
		"x-client-cert", "x-client-certificate", "x-client-verify", "x-arr-clientcert", // nginx, Azure
		"remote-user", "remote-groups", "remote-name", "remote-email", // CGI's, Authelia
		"x-userinfo", "x-endpoint-api-userinfo", "x-credential-identifier", "x-anonymous-consumer", // API gateways
		"x-goog-iap-jwt-assertion",
	}
	assertingPrefixes = []string{
		"x-auth-request-",                                         // oauth2-proxy
		"x-forwarded-tls-client-", "x-ssl-client-", "ssl-client-", // Traefik, nginx, HAProxy
		"x-amzn-oidc-", "x-amzn-mtls-", "x-goog-authenticated-user-", // load balancers
		"x-ms-client-principal", "x-ms-token-", "cf-access-", // Azure, Cloudflare
		"x-authenticated-", "x-webauth-", "x-authentik-", "x-consumer-", // gateways
		"x-pomerium-", "x-vouch-", "oidc-claim-", "tailscale-user-",
	}
	// requestHeaders make some servers read another method or path than the
	// request has, after the decision on these was made here.
	requestHeaders = []string{
		"x-http-method-override", "x-http-method", "x-method-override", "x-forwarded-method", "x-original-method",
		"x-original-url", "x-original-uri", "x-rewrite-url", "x-forwarded-uri",
	}

	endingHeaders = headersByLength(assertingHeaders, requestHeaders)
)

// headersByLength has each name at the index that is its length.
func headersByLength(lists ...[]string) [][]string {
	var out [][]string
	for _, names := range lists {
		for _, name := range names {
			for len(out) <= len(name) {
				out = append(out, nil)
			}
			out[len(name)] = append(out[len(name)], name)
		}
	}
	return out
}

// assertsOrRewrites says whether a header, in any spelling, is one of another proxy's or
// of those that rewrite the request: a client's is never forwarded.
func assertsOrRewrites(key string) bool {
	if len(key) < len(endingHeaders) {
		for _, name := range endingHeaders[len(key)] {
			if hasFoldPrefix(key, name) {
				return true
			}
		}
	}
	for _, p := range assertingPrefixes {
		if hasFoldPrefix(key, p) {
			return true
		}
	}
	return false
}
