// Package metrics has every series that front-proxy exports. It decides what they are
// called and which values their labels may have: shards, resources and files that
// operators name, and fixed sets. A user, token, workspace, logical cluster or address is
// never the value of a label.
//
// It must not know the proxy nor its routing: who counts passes labels (Request), and
// what can be read at a scrape is read then, from Sources and ProxyState.
package metrics
