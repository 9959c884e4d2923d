// Package webhook decides what a webhook's response (TokenReview) about a token means, how long it is
// valid, and how many calls may be in progress.
//
// It must not know requests, workspaces or other authenticators.
package webhook
