package shards

import (
	"context"
	"errors"
	"fmt"
)

// exportVersions are the versions of apis.kcp.io to read APIExports in, newest
// first.
var exportVersions = [...]string{"v1alpha2", "v1alpha1"}

var errNoIdentity = errors.New("it has no status.identityHash yet")

// identities reads the identity hashes of APIExports in root, and keeps them.
type identities struct {
	root *client
	// sem guards hashes; a channel, so that waiting ends with a context.
	sem    chan struct{}
	hashes map[string]string
}

func newIdentities(root *client) *identities {
	return &identities{root: root, sem: make(chan struct{}, 1), hashes: map[string]string{}}
}

// get returns the identity of the export. One equal to stale is read anew.
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
