// Package lookup reads request paths: which logical cluster they name, and
// whether they name it in one way only. It is pure: it knows no table, no
// request state and no clock.
//
// Two programs that read one path differently are how requests slip past a
// proxy. So the part of a path that decides where a request goes must have one
// reading: dot segments, encoded slashes, backslashes, empty segments and
// control characters in it are refused (ErrAmbiguous), never cleaned. The rest
// of the path is nobody's business but the shard's and stays as it came, byte
// for byte.
//
// A cluster is compared as the shard will see it, after percent-decoding. The
// only characters of a cluster path that clients do encode are the colon and, in
// client-go, the wildcard alone: so a cluster segment may hold %3A or be %2A, and
// have no other escape.
package lookup
