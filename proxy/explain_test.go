package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"frontproxy/authn"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/proxy/accessreview"
	"frontproxy/proxy/zpages"
)

// slowExplainer explains when it is let to.
type slowExplainer struct {
	*authn.Authenticator
	begun, release chan struct{}
}

func (s *slowExplainer) Explain(ctx context.Context, r authn.Request, c *workspacetypes.Change) (*authn.Explanation, error) {
	s.begun <- struct{}{}
	<-s.release
	return s.Authenticator.Explain(ctx, r, c)
}

// allowAll lets everybody read everything.
type allowAll struct{}

func (allowAll) Authorize(context.Context, accessreview.Access) (bool, error) { return true, nil }

func explainingFront(t *testing.T, now func() time.Time, explainer zpages.Explainer) *front {
	t.Helper()
	w := newWorld(t)
	w.shard(t, "shard-1", true, nil)
	w.config.Pages.Explainer, w.config.Now = explainer, now
	w.config.Pages.Authorizer = allowAll{}
	return w.front(t)
}

// TestExplainIsBounded: so many a second, credentials one at a time, questions
// of so many bytes.
func TestExplainIsBounded(t *testing.T) {
	decider, err := authn.New(authn.Config{Instance: "front"})
	if err != nil {
		t.Fatal(err)
	}
	slow := &slowExplainer{decider, make(chan struct{}), make(chan struct{})}
	stopped := time.Now()
	f := explainingFront(t, func() time.Time { return stopped }, slow)
	client := f.client(t, true)
	post := func(body string) (int, string) {
		t.Helper()
		resp, err := client.Post(f.URL+zpages.ExplainPath, "application/json", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer func() { _ = resp.Body.Close() }()
		var s struct{ Message, Outcome string }
		if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
			t.Error(err)
		}
		return resp.StatusCode, s.Message + s.Outcome
	}
	asked := 0
	for body, want := range map[string]string{
		"{": "not an ExplainRequest", `{"path":"x"}`: "must begin with a slash", `{"path":"https://x/y"}`: "must begin with a slash", `{"path":"/","certificates":"x"}`: "no PEM certificate",
		`{"path":"/","token":"` + strings.Repeat("a", zpages.MaxRequest) + `"}`: "at most",
	} {
		asked++
		if code, said := post(body); code != 400 || !strings.Contains(said, want) {
			t.Errorf("%.40s: %d %s, want 400 with %q", body, code, said, want)
		}
	}
	const path = `{"path":"/clusters/root:ws/api"}`
	first := make(chan int, 1)
	go func() { code, _ := post(path); first <- code }()
	<-slow.begun
	if code, said := post(path); code != 429 {
		t.Errorf("a second credential at once: %d %s", code, said)
	}
	slow.release <- struct{}{}
	if code := <-first; code != 200 {
		t.Errorf("the first: %d", code)
	}
	for asked += 2; asked < zpages.OperatorBurst; asked++ {
		if code, _ := do2(t, client, f.URL+zpages.ExplainPath+"/front-0"); code != 404 {
			t.Fatalf("question %d: %d", asked, code)
		}
	}
	if code, _ := do2(t, client, f.URL+zpages.ExplainPath+"/front-0"); code != 429 {
		t.Errorf("one too many: %d", code)
	}
}

// TestOneWorkspacesExplanationsLeaveRoomForOthers: who asks for all it may get leaves others'
// stories to them.
func TestOneWorkspacesExplanationsLeaveRoomForOthers(t *testing.T) {
	decider, err := authn.New(authn.Config{Instance: "front"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	shard := w.shard(t, "shard-1", true, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = rw.Write([]byte(`{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","status":{"allowed":true}}`))
	})
	stopped := time.Now()
	w.config.Pages.Explainer, w.config.Now = decider, func() time.Time { return stopped }
	for i := range 10 {
		name := fmt.Sprintf("ws-%d", i)
		w.index[name] = index.Target{Cluster: name, Shard: shard.Shard}
	}
	f := w.front(t)
	client := f.client(t, true)
	ask := func(name string) int {
		res, _ := do(t, client, http.MethodGet, f.URL+"/clusters/"+name+zpages.ExplainPath+"/front-0", nil)
		return res.StatusCode
	}
	for i := range zpages.WorkspaceBurst {
		if code := ask("ws-0"); code != http.StatusNotFound {
			t.Fatalf("question %d: %d", i, code)
		}
	}
	if code := ask("ws-0"); code != http.StatusTooManyRequests {
		t.Errorf("one too many: %d", code)
	}
	for i := 1; i < 10; i++ {
		if code := ask(fmt.Sprintf("ws-%d", i)); code != http.StatusNotFound {
			t.Errorf("ws-%d, which asks for the first time: %d", i, code)
		}
	}
}

func do2(t *testing.T, c *http.Client, url string) (int, []byte) {
	t.Helper()
	resp, body := do(t, c, http.MethodGet, url, nil)
	return resp.StatusCode, body
}

// TestExplainNotForOtherSites: a page that an operator looks at can't have
// anything explained with the operator's certificate.
func TestExplainNotForOtherSites(t *testing.T) {
	decider, err := authn.New(authn.Config{Instance: "front"})
	if err != nil {
		t.Fatal(err)
	}
	f := explainingFront(t, nil, decider)
	for name, tt := range map[string]struct {
		header http.Header
		code   int
	}{
		"a program":             {nil, 200},
		"another site":          {http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		"an old browser":        {http.Header{"Origin": {"https://evil.example"}}, 403},
		"its own pages, if any": {http.Header{"Sec-Fetch-Site": {"same-origin"}}, 200},
	} {
		for where, handler := range map[string]http.Handler{"the proxy": f.Proxy, "the debug address": f.Debug()} {
			r := httptest.NewRequest("POST", zpages.ExplainPath, strings.NewReader(`{"path":"/clusters/root:ws/api","token":"x"}`))
			r.Host, r.RequestURI = "localhost", zpages.ExplainPath
			for k, v := range tt.header {
				r.Header[k] = v
			}
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, r)
			if answer.Code != tt.code {
				t.Errorf("%s asks %s: %d %s, want %d", name, where, answer.Code, answer.Body, tt.code)
			}
		}
	}
}
