package token

// BearerProtocolPrefix begins the WebSocket subprotocol that carries a bearer
// token for clients that cannot set headers (Kubernetes' WebSocket protocol
// for browsers): the rest is the token in unpadded base64url.
const BearerProtocolPrefix = "base64url.bearer.authorization.k8s.io." //nolint:gosec // a name, no secret
