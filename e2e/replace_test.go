package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/e2e/harness"
)

// probe is a request whose answer is compared between two proxies.
type probe struct {
	name   string
	client *http.Client
	token  string
	method string
	path   string
	body   string
}

// outcome is what matters of an answer: its code, and whom the shard took the
// caller for or why it was refused.
type outcome struct {
	Code            int
	User            authenticationv1.UserInfo
	Reason, Message string
}

func (p probe) ask(ctx context.Context, url string) (outcome, error) {
	request, err := http.NewRequestWithContext(ctx, p.method, url+p.path, strings.NewReader(p.body))
	if err != nil {
		return outcome{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	if p.token != "" {
		request.Header.Set("Authorization", "Bearer "+p.token)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return outcome{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{Code: response.StatusCode}
	var review authenticationv1.SelfSubjectReview
	var status metav1.Status
	switch {
	case json.Unmarshal(body, &review) == nil && review.Kind == "SelfSubjectReview":
		o.User = review.Status.UserInfo
		slices.Sort(o.User.Groups)
	case json.Unmarshal(body, &status) == nil && status.Kind == "Status":
		o.Reason, o.Message = string(status.Reason), status.Message
	}
	return o, nil
}

// TestChangeOfImage: in a running kcp, under load, kcp-front-proxy is stopped
// and this proxy started with the same arguments at the same address. Nobody
// gets another answer than before, but for the differences on purpose.
func TestChangeOfImage(t *testing.T) {
	t.Parallel()
	proxy, err := env.NewProxy("proxy-to-replace", harness.ProxyOptions{Incumbent: true})
	check(t, err)
	check(t, proxy.Start(t.Context()))
	t.Cleanup(func() { check(t, proxy.Stop()) })

	issuer := newIssuer(t)
	o := newOrg(t, "root")
	o.configure("a", trust(issuer))
	kind := o.kind("team", "a")
	one, two := o.workspace("one", kind, "root"), o.workspace("two", kind, shardOne)
	plain := o.workspace("plain", harness.TypeRef{}, shardOne)
	alice := token(issuer, "alice@example.com", "devs")
	eventuallyIn(t, proxy.Token(alice), one.Path)
	eventuallyIn(t, proxy.Token(alice), two.Path)

	admin, err := transportFor(env.AdminKeys())
	check(t, err)
	clients := map[string]*http.Client{"certificate": {Transport: admin}, "none": {Transport: &http.Transport{TLSClientConfig: clientTLS(), ForceAttemptHTTP2: true}}}
	for _, c := range clients {
		c.Timeout = 20 * time.Second
		t.Cleanup(c.CloseIdleConnections)
	}
	var same []probe
	add := func(name, client, token, method, path, body string) {
		same = append(same, probe{name, clients[client], token, method, path, body})
	}
	for _, ws := range []harness.Workspace{one, two, plain} {
		add("admin in "+ws.Path, "certificate", "", "POST", reviewPath(ws.Path), review)
		add("admin in "+ws.Path+" by name", "certificate", "", "POST", reviewPath(ws.Cluster), review)
		add("admin lists in "+ws.Path, "certificate", "", "GET", "/clusters/"+ws.Path+"/api/v1/namespaces?limit=1", "")
	}
	for _, ws := range []harness.Workspace{one, two} {
		add("alice in "+ws.Path, "none", alice, "POST", reviewPath(ws.Path), review)
		add("alice lists secrets in "+ws.Path, "none", alice, "GET", "/clusters/"+ws.Path+"/api/v1/secrets", "")
		add("an expired token in "+ws.Path, "none", issuer.Sign(expired()), "POST", reviewPath(ws.Path), review)
		add("garbage in "+ws.Path, "none", "garbage", "POST", reviewPath(ws.Path), review)
	}
	add("alice in a workspace of another type", "none", alice, "POST", reviewPath(plain.Path), review)
	add("nobody in a workspace of another type", "none", "", "GET", "/clusters/"+plain.Path+"/api/v1/namespaces", "")
	add("alice in root", "none", alice, "POST", reviewPath("root"), review)
	add("unknown workspace", "certificate", "", "GET", "/clusters/root:nowhere/api/v1/namespaces", "")
	add("wildcard", "certificate", "", "GET", "/clusters/*/api/v1/namespaces", "")
	add("system cluster", "certificate", "", "GET", "/clusters/system:admin/api/v1/namespaces", "")
	add("invalid cluster", "certificate", "", "GET", "/clusters/Root/api/v1/namespaces", "")
	add("virtual workspaces", "certificate", "", "GET", "/services/nothing/clusters/"+plain.Path+"/api", "")
	add("no mapping", "certificate", "", "GET", "/nothing", "")

	before := map[string]outcome{}
	for _, p := range same {
		before[p.name], err = p.ask(t.Context(), proxy.URL)
		check(t, err)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	answers := make([]int, 4)
	var ours atomic.Bool // it is our proxy that answers
	for worker := range answers {
		load.Go(func() {
			for n := worker; ctx.Err() == nil; n++ {
				p := same[n%len(same)]
				got, err := p.ask(ctx, proxy.URL)
				if err != nil {
					time.Sleep(20 * time.Millisecond) // it is being replaced: a client tries again
					continue
				}
				if got.Code == http.StatusBadGateway && !ours.Load() {
					continue // the incumbent loses requests to shards that wind a connection down
				}
				answers[worker]++
				if diff := differs(before[p.name], got); diff != "" {
					t.Errorf("under load, %s (-kcp-front-proxy +got):\n%s", p.name, diff)
					return
				}
			}
		})
	}
	time.Sleep(time.Second)
	_ = proxy.Stop() // it may not drain in time: its watches hold it
	proxy.ChangeImage()
	check(t, proxy.Start(t.Context()))
	ours.Store(true)
	eventuallyIn(t, proxy.Token(alice), two.Path)
	time.Sleep(time.Second)
	stop()
	load.Wait()
	t.Logf("%d answers under load", sum(answers))

	for _, p := range same {
		got, err := p.ask(t.Context(), proxy.URL)
		check(t, err)
		if diff := differs(before[p.name], got); diff != "" {
			t.Errorf("%s (-kcp-front-proxy +front-proxy):\n%s", p.name, diff)
		}
	}
	// The difference on purpose that this mapping shows: the incumbent cuts the
	// connection (docs/compatibility.md).
	nobody := probe{"nobody", clients["none"], "", "GET", "/clusters/" + one.Path + "/api/v1/namespaces", ""}
	if got, err := nobody.ask(t.Context(), proxy.URL); err != nil || got.Code != http.StatusUnauthorized {
		t.Errorf("no credential where the type has configurations: %+v, %v", got, err)
	}
}

// differs compares two answers. While a proxy's issuer is being read for the
// first time, right after its start, a token may be "not now", and nothing else.
func differs(want, got outcome) string {
	if got.Code == http.StatusServiceUnavailable && want.Code != http.StatusServiceUnavailable && got.Reason == string(metav1.StatusReasonServiceUnavailable) {
		return ""
	}
	if want.Code == http.StatusUnauthorized && strings.HasPrefix(got.Message, want.Message+": the token was not accepted; ") {
		got.Message = want.Message // ours says more, on purpose (docs/compatibility.md)
	}
	if want.Reason == "" && want.User.Username == "" { // no Status: plain text, where ours is always a Status
		got.Reason, got.Message = "", ""
	}
	return cmp.Diff(want, got)
}

func sum(numbers []int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}

func expired() map[string]any {
	c := claims("alice@example.com")
	c["exp"] = time.Now().Add(-time.Hour).Unix()
	return c
}
