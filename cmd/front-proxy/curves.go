package main

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
)

var curves = []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}

// curveIDs converts names or IDs of key exchange mechanisms; it returns nil for none.
func curveIDs(names []string) ([]tls.CurveID, error) {
	var ids []tls.CurveID
	for _, name := range names {
		id, ok := curveID(name)
		if !ok {
			var known []string
			for _, c := range curves {
				known = append(known, c.String())
			}
			return nil, fmt.Errorf("unknown curve %q; known are %s", name, strings.Join(known, ", "))
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func curveID(name string) (tls.CurveID, bool) {
	for _, c := range curves {
		if strings.EqualFold(c.String(), name) || strconv.Itoa(int(c)) == name {
			return c, true
		}
	}
	return 0, false
}
