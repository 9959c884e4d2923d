// Package typestest feeds workspace types and their configurations to an index as
// kcp's watches do. Only tests import it.
package typestest
