// Package webhook decides what another server's answer (TokenReview) about a token
// means, how long it counts, and how many questions may be under way.
//
// It must not know requests, workspaces or other authenticators.
package webhook
