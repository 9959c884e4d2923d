package zpages

import (
	"net/http/httptest"
	"testing"
)

// TestWantsJSON reads Accept as Kubernetes' z-pages do, and plain JSON too.
func TestWantsJSON(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "text/plain": false, "application/json": true, "text/plain, application/json": false, "application/json, */*": false, "application/json;v=v1alpha1;g=config.k8s.io;as=Statusz, */*": true,
		"application/json;v=v1alpha1;g=config.k8s.io;as=Statusz": true, "application/json;v=v1alpha1;g=config.k8s.io;as=Flagz": false,
		"application/json;v=v2;g=config.k8s.io;as=Statusz": false, "application/yaml": false, ";;": false,
	} {
		r := httptest.NewRequest("GET", "/statusz", nil)
		r.Header.Set("Accept", accept)
		if got := wantsJSON(r, "Statusz"); got != want {
			t.Errorf("%q: %v, want %v", accept, got, want)
		}
	}
}
