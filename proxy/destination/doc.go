// Package destination says where a request goes. The Destination is one value, which package
// routing makes once. Everything that decides about, forwards, limits, counts or records the
// request reads it, and works none of it out again.
//
// It must not know how a destination is found, nor who is asking.
package destination
