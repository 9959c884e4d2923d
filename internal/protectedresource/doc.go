// Package protectedresource has OAuth 2.0 Protected Resource Metadata (RFC 9728)
// as front-proxy publishes it and kubectl kcp-login reads it: where a workspace's
// users log in.
//
// RFC 9728 names issuers and nothing that a client of ID tokens needs. The
// extension member "id_token_clients" adds that, one object an issuer; its fields
// are Client's. Both sides judge a Client by the same rules (Client.Validate): the
// proxy does not publish what the client would refuse, and the client does not
// rely on a proxy that behaves.
package protectedresource
