// Package protectedresource implements OAuth 2.0 Protected Resource Metadata (RFC 9728): where a
// workspace's users log in, as front-proxy publishes it and kubectl kcp-login reads it.
//
// RFC 9728 names issuers but not what a client needs to get ID tokens from them. The extension
// member "id_token_clients" adds that, one object per issuer, with the fields of Client. Both
// sides check a Client by the same rules (Client.Validate): the proxy does not publish what
// the client would refuse, and the client does not rely on the proxy.
package protectedresource
