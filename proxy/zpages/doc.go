// Package zpages has the pages that the proxy serves about itself: /statusz and /flagz,
// as Kubernetes' components have them, and explanations of why requests are admitted or
// not. It decides what a page says, to whom how much of it, and how often.
//
// It must not know the proxy nor its routing: it gets StatusSources, an Explainer and a
// TryFunc. Who may read a page has been found out before.
package zpages
