// Package lookup reads request paths: which logical cluster a path names, and whether it
// has only one reading. It is pure: it knows no table, no request state and no clock.
//
// If two programs read a path differently, requests can slip past a proxy. So the part of a
// path that affects routing must have one reading: lookup refuses dot segments, encoded
// slashes, backslashes, empty segments and control characters in it (ErrAmbiguous) and
// never cleans them up. The rest of the path concerns only the shard and is forwarded byte
// for byte.
//
// A cluster is compared as the shard will see it, after percent-decoding. The only
// characters of a cluster path that clients encode are the colon and, in client-go, the
// wildcard by itself. So a cluster segment may contain %3A or be %2A, and have no other
// escape.
package lookup
