package shards

import (
	"context"
	"errors"
	"fmt"
)

// exportVersions are the versions of apis.kcp.io in which to read APIExports, newest
// first.
var exportVersions = [...]string{"v1alpha2", "v1alpha1"}

var errNoIdentity = errors.New("it has no status.identityHash yet")

// identities reads and caches the identity hashes of APIExports in root.
type identities struct {
	root *client
	// sem guards hashes. It is a channel so that a wait can end with its context.
	sem    chan struct{}
	hashes map[string]string
}

// get returns the identity of the export. If the cached one equals stale, get reads
// it again.
func (i *identities) get(ctx context.Context, export, stale string) (string, error) {
	select {
	case i.sem <- struct{}{}:
		defer func() { <-i.sem }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if h := i.hashes[export]; h != "" && h != stale {
		return h, nil
	}
	h, err := i.read(ctx, export)
	if err != nil {
		return "", fmt.Errorf("read the identity of APIExport %q in root: %w", export, err)
	}
	i.hashes[export] = h
	return h, nil
}

func (i *identities) read(ctx context.Context, export string) (string, error) {
	var first error
	for _, v := range exportVersions {
		var e struct {
			Status struct {
				IdentityHash string `json:"identityHash"`
			} `json:"status"`
		}
		err := i.root.get(ctx, "/clusters/root/apis/apis.kcp.io/"+v+"/apiexports/"+export, nil, &e)
		switch {
		case err == nil && e.Status.IdentityHash == "":
			return "", errNoIdentity
		case err == nil:
			return e.Status.IdentityHash, nil
		case !notFound(err):
			return "", err
		case first == nil:
			first = err
		}
	}
	return "", first
}
