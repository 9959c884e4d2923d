package routing

import (
	"testing"

	"k8s.io/klog/v2"

	"frontproxy/proxy/routing/routingtest"
)

// TestListedHostsAreExternal: connections to hosts that the operator lists have the
// limits of those that tenants choose.
func TestListedHostsAreExternal(t *testing.T) {
	w := routingtest.NewFiles(t)
	file := w.Write(t, "hosts.yaml", []byte(w.In("- url: https://host.example"+routingtest.TLSEntry)))
	hosts, err := NewMountHosts(file, nil, klog.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	all := hosts.upstreams()
	if len(all) != 1 {
		t.Fatalf("%d hosts", len(all))
	}
	for _, u := range all {
		if !u.External {
			t.Errorf("%s is taken for a shard", u.Source)
		}
	}
}
