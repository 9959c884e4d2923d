package deploy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
)

// series are the samples of one scrape, by the text before the value, and which of
// them are counters. A scrape that fails has none.
type series struct {
	values   map[string]float64
	counters map[string]bool
}

// stage is a front-proxy of two stand-in shards with a workspace on each, and its
// clients.
type stage struct {
	t       *testing.T
	kcp     *standin.KCP
	far     *standin.Shard
	issuer  *issuertest.Issuer
	broken  atomic.Pointer[http.HandlerFunc] // answers for the far shard
	program *harness.Program
	args    []string
	url     string
	debug   string
	client  *http.Client
}

func newStage(t *testing.T) *stage {
	t.Helper()
	k, err := standin.New(t.TempDir())
	check(t, err)
	t.Cleanup(k.Close)
	s := &stage{t: t, kcp: k, issuer: issuertest.Serve(t, issuertest.Options{})}
	s.far, err = k.AddShard("far")
	check(t, err)
	s.far.SetForwarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := s.broken.Load(); answer != nil {
			(*answer)(w, r)
			return
		}
		_, _ = io.WriteString(w, "{}")
	}))
	for name, shard := range map[string]*standin.Shard{"team": k.Root, "far": s.far} {
		cluster := fmt.Sprintf("%s%013d", name[:3], 1)
		k.Root.PutWorkspace("root", name, cluster, "root", "team", nil)
		shard.PutCluster(cluster, "root:team", nil)
	}
	k.Root.PutType("root", "team")
	kubeconfig, err := k.Kubeconfig()
	check(t, err)
	serving, err := k.ServingCA.Serving(t.TempDir(), "proxy")
	check(t, err)
	port, err := harness.FreePort()
	check(t, err)
	debug, err := harness.FreePort()
	check(t, err)
	s.url, s.debug = fmt.Sprintf("https://127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", debug)
	s.args = []string{
		"--mapping-file=" + s.file("mapping.yaml", k.MappingEntry("/clusters/")), "--root-kubeconfig=" + kubeconfig, "--shards-kubeconfig=" + kubeconfig, "--root-directory=" + t.TempDir(),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--tls-cert-file=" + serving.CertFile, "--tls-private-key-file=" + serving.KeyFile,
		"--client-ca-file=" + k.ClientCA.File, "--debug-address=" + s.debug, "--shutdown-delay-duration=0s", "--feature-gates=WorkspaceAuthentication=true",
	}
	pair, err := k.ClientCA.Client(t.TempDir(), "alice", "devs")
	check(t, err)
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	check(t, err)
	s.client = (&proxy{}).client(k, cert)
	return s
}

// file writes one, which tests may replace by renaming.
func (s *stage) file(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	check(s.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// withOIDC has the proxy trust the stage's issuer.
func (s *stage) withOIDC() {
	s.args = append(s.args, "--oidc-issuer-url="+s.issuer.URL(), "--oidc-client-id=kcp", "--oidc-signing-algs=ES256", "--oidc-ca-file="+s.file("oidc-ca.crt", s.issuer.CAPEM()))
}

// withWorkspaceIssuer has the workspaces' type trust it.
func (s *stage) withWorkspaceIssuer() {
	s.kcp.Root.PutConfiguration("root", "issuer", standin.Object{
		"issuer":        standin.Object{"url": s.issuer.URL(), "audiences": []string{"kcp"}, "certificateAuthority": s.issuer.CAPEM()},
		"claimMappings": standin.Object{"username": standin.Object{"claim": "sub", "prefix": ""}},
	})
	s.kcp.Root.PutType("root", "team", "issuer")
}

// withWebhook has the proxy ask a webhook that answers with a code.
func (s *stage) withWebhook(code *atomic.Int64) {
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(code.Load()))
		_, _ = io.WriteString(w, `{"apiVersion":"authentication.k8s.io/v1beta1","kind":"TokenReview","status":{}}`)
	}))
	s.t.Cleanup(hook.Close)
	path := filepath.Join(s.t.TempDir(), "webhook.kubeconfig")
	check(s.t, harness.WriteKubeconfig(path, &rest.Config{Host: hook.URL, TLSClientConfig: rest.TLSClientConfig{CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})}}))
	s.args = append(s.args, "--authentication-token-webhook-config-file="+path)
}

// start runs the program until the test ends.
func (s *stage) start() {
	t := s.t
	t.Helper()
	binaries, err := harness.FindBinaries("")
	check(t, err)
	log := filepath.Join(t.TempDir(), "log")
	s.program, err = harness.StartProgram("front-proxy", log, binaries.FrontProxy, s.args...)
	check(t, err)
	t.Cleanup(func() { s.program.Stop() })
	check(t, harness.Eventually(t.Context(), 2*time.Minute, "front-proxy to be ready", func(context.Context) error {
		resp, err := s.client.Get(s.url + "/readyz")
		if err != nil {
			return errors.Join(err, s.program.Alive())
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("answers %d", resp.StatusCode)
		}
		return nil
	}))
}

// ask sends fifteen requests to each workspace, all at once, with a token if it is not
// empty. What they get is for the metrics to tell.
func (s *stage) ask(tokens ...string) {
	var all sync.WaitGroup
	for n := range 30 {
		all.Go(func() {
			client := s.client
			r, err := http.NewRequest(http.MethodGet, s.url+"/clusters/root:"+[]string{"team", "far"}[n%2]+"/api/v1/pods", nil)
			if err != nil {
				return
			}
			if len(tokens) > 0 {
				client = (&proxy{}).client(s.kcp)
				r.Header.Set("Authorization", "Bearer "+tokens[n%len(tokens)])
			}
			resp, err := client.Do(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		})
	}
	all.Wait()
}

// scrape is what the proxy tells now; of a certificate's end it is how long that is away,
// since the series begin at 0.
func (s *stage) scrape() series {
	s.t.Helper()
	found := series{map[string]float64{}, map[string]bool{}}
	resp, err := http.Get("http://" + s.debug + "/metrics")
	if err != nil {
		return found
	}
	defer func() { _ = resp.Body.Close() }()
	counter := false
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if kind, ok := strings.CutPrefix(lines.Text(), "# TYPE "); ok {
			counter = strings.HasSuffix(kind, " counter") || strings.HasSuffix(kind, " histogram")
		}
		at := strings.LastIndex(lines.Text(), " ")
		if at < 0 || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		name := lines.Text()[:at]
		value, err := strconv.ParseFloat(lines.Text()[at+1:], 64)
		check(s.t, err)
		if strings.HasPrefix(name, "front_proxy_certificate_expiration_timestamp_seconds") {
			value -= float64(time.Now().Unix())
		}
		found.values[name], found.counters[name] = value, counter
	}
	check(s.t, lines.Err())
	return found
}

// await scrapes until a series has a value of at least 1.
func (s *stage) await(name string) {
	s.t.Helper()
	check(s.t, harness.Eventually(s.t.Context(), 2*time.Minute, name, func(context.Context) error {
		if all := s.scrape().values; all[name] < 1 {
			return fmt.Errorf("it is %v", all[name])
		}
		return nil
	}))
}

// awaitFailedWatches waits until every watch of a shard has failed.
func (s *stage) awaitFailedWatches(shard string) {
	s.t.Helper()
	for _, resource := range []string{"workspaces.tenancy.kcp.io", "logicalclusters.core.kcp.io", "workspacetypes.tenancy.kcp.io", "workspaceauthenticationconfigurations.tenancy.kcp.io"} {
		s.await(`front_proxy_resource_watch_state{resource="` + resource + `",shard="` + shard + `",state="failed"}`)
	}
}

// phase is some minutes in which a metric is as between two scrapes: counters grow each
// minute as they grew between them.
type phase struct {
	minutes    int
	begin, end series
}

// record are the lines of input_series for some phases, as two instances of one job, of
// which only those in broken go through the last phase.
func record(phases []phase, broken ...string) (lines []map[string]string) {
	names := map[string]bool{}
	for _, p := range phases {
		for name := range p.end.values {
			names[name] = true
		}
	}
	for _, instance := range []string{"a", "b"} {
		target := fmt.Sprintf(`namespace="kcp",job="front-proxy",instance="%s:6443"`, instance)
		mine := slices.Clone(phases)
		if last := len(mine) - 1; !slices.Contains(broken, instance) {
			mine[last].begin, mine[last].end = mine[last-1].begin, mine[last-1].end
		}
		up := ""
		for _, p := range mine {
			up += fmt.Sprintf("%dx%d ", min(1, len(p.end.values)), p.minutes-1)
		}
		lines = append(lines, map[string]string{"series": "up{" + target + "}", "values": up})
		for name := range names {
			labelled := name + "{" + target + "}"
			if before, ok := strings.CutSuffix(name, "}"); ok {
				labelled = before + "," + target + "}"
			}
			lines = append(lines, map[string]string{"series": labelled, "values": values(name, mine)})
		}
	}
	return lines
}

func values(name string, phases []phase) string {
	var all []string
	total, known := 0.0, false
	for _, p := range phases {
		now, has := p.end.values[name]
		switch {
		case !has:
			all = append(all, fmt.Sprintf("_x%d", p.minutes))
		case !p.end.counters[name]:
			all = append(all, fmt.Sprintf("%sx%d", strconv.FormatFloat(now, 'f', -1, 64), p.minutes-1))
		default:
			if !known {
				total, known = p.begin.values[name], true
			}
			grows := max(0, now-p.begin.values[name])
			all = append(all, fmt.Sprintf("%s+%sx%d", strconv.FormatFloat(total, 'f', -1, 64), strconv.FormatFloat(grows, 'f', -1, 64), p.minutes-1))
			total += grows * float64(p.minutes)
		}
	}
	return strings.Join(all, " ")
}

const alertRules = "alerts/front-proxy.rules.yaml"

// firingAlert is one that the engine says fires.
type firingAlert struct {
	Labels, Annotations map[string]string
	Value               float64
}

// evaluated are the alerts that fire at the times, in minutes, as Prometheus evaluates the
// rules on the series.
func evaluated(t *testing.T, rules string, lines []map[string]string, minutes ...int) [][]firingAlert {
	t.Helper()
	var times []map[string]string
	for _, at := range minutes {
		times = append(times, map[string]string{"eval_time": fmt.Sprintf("%dm", at)})
	}
	text, err := json.Marshal(map[string]any{
		"evaluation_interval": "1m",
		"tests":               []any{map[string]any{"name": t.Name(), "interval": "1m", "input_series": lines, "alert_rule_test": times}},
	})
	check(t, err)
	file := filepath.Join(t.TempDir(), "series.yaml")
	check(t, os.WriteFile(file, text, 0o600))
	var printed []struct{ Alerts []firingAlert }
	check(t, json.Unmarshal(run(t, nil, tool(t, "alerts"), rules, file), &printed))
	var all [][]firingAlert
	for _, p := range printed {
		all = append(all, p.Alerts)
	}
	return all
}

// named are alerts in short: name, severity, and the labels that do not say which
// front-proxy it is.
func named(t *testing.T, alerts []firingAlert) []string {
	t.Helper()
	var all []string
	for _, a := range alerts {
		short := a.Labels["alertname"] + " " + a.Labels["severity"]
		for _, label := range slices.Sorted(maps.Keys(a.Labels)) {
			if !slices.Contains([]string{"alertname", "severity", "namespace", "job"}, label) {
				short += " " + label + "=" + a.Labels[label]
			}
		}
		for _, text := range a.Annotations {
			if strings.Contains(text, "error expanding") || strings.Contains(text, "<no value>") || strings.Contains(text, "  ") {
				t.Errorf("%s says %q", short, text)
			}
		}
		if a.Labels["namespace"] != "kcp" || a.Labels["job"] != "front-proxy" {
			t.Errorf("%s does not say of which front-proxy: %v", short, a.Labels)
		}
		all = append(all, short)
	}
	slices.Sort(all)
	return all
}

// TestAlertsUnderFaults runs the program, breaks something, and gives what it told of
// itself before and after to Prometheus' engine: nothing fires before, and after an
// hour of it those alerts that are named here, and no other. Every rule has its fault.
func TestAlertsUnderFaults(t *testing.T) {
	const healthy, faulty = 30, 70
	var code atomic.Int64
	code.Store(http.StatusOK)
	answers := func(s *stage, answer http.HandlerFunc) { s.broken.Store(&answer) }
	var mu sync.Mutex // guards fired and ran
	fired, ran, faults := map[string]bool{}, 0, 0
	t.Cleanup(func() { // after all faults, unless -run leaves some out
		for _, r := range rulesOf(t) {
			if ran == faults && !fired[r.Alert] && !t.Failed() {
				t.Errorf("no fault has %s fire", r.Alert)
			}
		}
	})
	for _, tt := range []struct {
		name    string
		prepare func(*stage)               // before it starts
		breaks  func(*stage)               // after
		traffic func(*stage)               // while it is broken; nil: as before
		edit    func(before, after series) // what no test can make happen
		only    string                     // the instance that is broken; empty: both
		sick    bool                       // it is broken from the start
		past    int                        // more healthy minutes
		want    []string
	}{
		{name: "nothing"},
		{name: "an instance is gone", only: "b", breaks: func(s *stage) { s.program.Stop() }, want: []string{"FrontProxyInstanceDown warning instance=b:6443"}},
		{
			name: "all instances are gone", breaks: func(s *stage) { s.program.Stop() },
			want: []string{"FrontProxyDown critical", "FrontProxyInstanceDown warning instance=a:6443", "FrontProxyInstanceDown warning instance=b:6443"},
		},
		{
			name: "a shard dies",
			breaks: func(s *stage) {
				s.far.Stop()
				s.awaitFailedWatches("far")
			},
			want: []string{"FrontProxyShardDown critical shard=far"},
		},
		{
			// Read at the debug address: Prometheus would soon be refused, see docs/runbooks.md.
			name: "the root shard dies",
			breaks: func(s *stage) {
				s.kcp.Root.Stop()
				s.awaitFailedWatches("root")
				s.await(`front_proxy_resource_watch_state{resource="shards.core.kcp.io",shard="",state="failed"}`)
			},
			want: []string{"FrontProxyShardDown critical shard=root"},
		},
		{
			name: "a shard is dead at the start", sick: true, prepare: func(s *stage) { s.far.Stop() },
			want: []string{"FrontProxyShardDown critical shard=far"},
		},
		{
			name: "a shard serves one resource not", sick: true,
			prepare: func(s *stage) {
				s.far.SetMany(func(resource string) (http.Handler, bool) {
					return http.NotFoundHandler(), resource == "workspaces"
				})
			},
			want: []string{"FrontProxyShardNotSynced critical shard=far", "FrontProxyWatchFails warning resource=workspaces.tenancy.kcp.io shard=far"},
		},
		{
			name: "a shard answers 500",
			breaks: func(s *stage) {
				answers(s, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
			},
			want: []string{"FrontProxyServerErrors critical shard=far"},
		},
		{
			name: "a shard cuts connections",
			breaks: func(s *stage) {
				answers(s, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
			},
			want: []string{"FrontProxyServerErrors critical shard=far", "FrontProxyUpstreamErrors warning reason=other shard=far upstream=shard"},
		},
		{
			name: "a shard is slow", past: 24 * 60,
			breaks: func(s *stage) {
				answers(s, func(w http.ResponseWriter, _ *http.Request) {
					time.Sleep(1100 * time.Millisecond) // this is the fault
					_, _ = io.WriteString(w, "{}")
				})
			},
			want: []string{"FrontProxySlow warning"},
		},
		{
			name: "a shard answers 429",
			breaks: func(s *stage) {
				answers(s, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
			},
			want: []string{"FrontProxyTooManyRequests warning"},
		},
		{
			name: "a user sends too fast",
			prepare: func(s *stage) {
				s.args = append(s.args, "--identity-requests-per-second=0.001", "--identity-requests-burst=40", "--rate-limit-dry-run")
			},
			traffic: func(s *stage) {
				for range 4 {
					s.ask()
				}
			},
			want: []string{"FrontProxyRateLimited info bucket=identity dry_run=true"},
		},
		{
			name:    "connections are full",
			prepare: func(s *stage) { s.args = append(s.args, "--max-connections=60") },
			traffic: func(s *stage) {
				for range 70 {
					conn, err := tls.Dial("tcp", strings.TrimPrefix(s.url, "https://"), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // only to hold it
					if err == nil {
						s.t.Cleanup(func() { _ = conn.Close() })
					}
				}
			},
			want: []string{"FrontProxyConnectionsFull critical"},
		},
		{
			name: "the operator's issuer is down at the start", sick: true, prepare: func(s *stage) { s.withOIDC(); s.issuer.SetDown(true) },
			traffic: func(s *stage) { s.ask(s.issuer.Sign(issuertest.Claims{"sub": "u", "aud": "kcp"})) },
			breaks:  func(s *stage) { s.await(`front_proxy_issuers{scope="global",state="Unavailable"}`) },
			want:    []string{"FrontProxyCannotDecide warning scope=global", "FrontProxyIssuerUnusable critical scope=global state=Unavailable"},
		},
		{
			name: "the operator's issuer goes down", prepare: (*stage).withOIDC,
			breaks: func(s *stage) {
				s.await(`front_proxy_issuers{scope="global",state="Ready"}`)
				s.issuer.SetDown(true)
				s.ask(s.issuer.Sign(issuertest.Claims{"sub": "u", "aud": "kcp"}, issuertest.KeyID("new")))
				s.await(`front_proxy_issuers{scope="global",state="Failing"}`)
			},
			want: []string{"FrontProxyIssuerFails warning scope=global"},
		},
		{
			name: "a tenant's issuer is down", sick: true, prepare: func(s *stage) { s.withWorkspaceIssuer(); s.issuer.SetDown(true) },
			traffic: func(s *stage) { s.ask(s.issuer.Sign(issuertest.Claims{"sub": "u", "aud": "kcp"})) },
			breaks:  func(s *stage) { s.await(`front_proxy_issuers{scope="workspace",state="Unavailable"}`) },
			want:    []string{"FrontProxyWorkspaceIssuerFails info scope=workspace state=Unavailable"},
		},
		{
			name: "the issuer's audience changes", prepare: (*stage).withOIDC,
			traffic: func(s *stage) { s.ask(s.issuer.Sign(issuertest.Claims{"sub": "u", "aud": "another"})) },
			want:    []string{"FrontProxyTokensRefused warning reason=audience scope=global"},
		},
		{
			name: "the webhook refuses the proxy", prepare: func(s *stage) { s.withWebhook(&code) },
			breaks: func(s *stage) {
				code.Store(http.StatusUnauthorized)
				s.ask("unknown-1", "unknown-2")
				s.await(`front_proxy_webhook_state{state="Unauthorized"}`)
			},
			want: []string{"FrontProxyWebhookFails critical scope=global state=Unauthorized"},
		},
		{
			name: "a shard publishes no keys", prepare: func(s *stage) { s.args = append(s.args, "--service-account-keys-from-shards") }, sick: true,
			breaks: func(s *stage) {
				s.await(`front_proxy_shard_service_account_keys_failed{shard="far"}`)
				s.await(`front_proxy_shard_service_account_keys_failed{shard="root"}`)
			},
			want: []string{"FrontProxyServiceAccountKeysFail warning shard=far", "FrontProxyServiceAccountKeysFail warning shard=root"},
		},
		{
			name: "the mapping file is broken",
			breaks: func(s *stage) {
				file, _ := strings.CutPrefix(s.args[0], "--mapping-file=")
				check(s.t, os.WriteFile(file+".new", []byte("- path: x"), 0o600))
				check(s.t, os.Rename(file+".new", file))
				check(s.t, harness.Eventually(s.t.Context(), time.Minute, "the file to be read", func(context.Context) error {
					if s.scrape().values[`front_proxy_config_last_reload_successful{source="mapping-file"}`] == 1 {
						return errors.New("it is in use")
					}
					return nil
				}))
			},
			want: []string{"FrontProxyReloadFailed warning source=mapping-file"},
		},
		{
			name: "memory for clients is used up",
			edit: func(_, after series) {
				after.values[`front_proxy_charged_memory_bytes{budget="requests"}`] = 0.95 * after.values[`front_proxy_charged_memory_limit_bytes{budget="requests"}`]
			},
			want: []string{"FrontProxyMemoryFull warning budget=requests"},
		},
		{
			name: "headers stay unfinished", edit: func(_, after series) { after.values["front_proxy_connections_with_unfinished_headers_total"] += 9 },
			want: []string{"FrontProxyUnfinishedHeaders warning"},
		},
		{
			// A panic cannot be made to happen from outside.
			name: "a panic", edit: func(_, after series) { after.values["front_proxy_panics_total"]++ },
			want: []string{"FrontProxyPanics warning"},
		},
		{
			// The stand-ins' certificates last a day.
			name: "certificates end within a day", sick: true, edit: func(before, after series) {},
			want: []string{
				"FrontProxyCertificateExpires warning role=serving source=tls-cert-file", "FrontProxyCertificateExpiresToday critical role=serving source=tls-cert-file",
			},
		},
	} {
		faults++
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			if tt.prepare != nil {
				tt.prepare(s)
			}
			s.start()
			s.ask()
			later := func(all series) series { // the stand-ins' certificates last a day only
				for name := range all.values {
					if strings.HasPrefix(name, "front_proxy_certificate_expiration") && (!strings.Contains(tt.name, "certificates") || !strings.Contains(name, "tls-cert-file")) {
						all.values[name] += 30 * 24 * 3600
					}
				}
				return all
			}
			before := phase{minutes: tt.past + healthy, begin: later(s.scrape())}
			s.ask()
			before.end = later(s.scrape())
			if tt.breaks != nil {
				tt.breaks(s)
			}
			after := phase{minutes: faulty, begin: later(s.scrape())}
			if tt.traffic == nil {
				tt.traffic = func(s *stage) { s.ask() }
			}
			tt.traffic(s)
			after.end = later(s.scrape())
			if tt.edit != nil {
				tt.edit(before.end, after.end)
			}
			broken := []string{"a", "b"}
			if tt.only != "" {
				broken = []string{tt.only}
			}
			got := evaluated(t, alertRules, record([]phase{before, after}, broken...), tt.past+healthy-1, tt.past+healthy+faulty-1)
			if diff := cmp.Diff([]string(nil), named(t, got[0])); diff != "" && !tt.sick {
				t.Errorf("fires although all is well:\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, named(t, got[1])); diff != "" {
				t.Errorf("fires (-want +got):\n%s", diff)
			}
			mu.Lock()
			defer mu.Unlock()
			ran++
			for _, a := range got[1] {
				fired[a.Labels["alertname"]] = true
			}
		})
	}
}

// rule is an alert as the file has it.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

// rulesOf are the rules of the file.
func rulesOf(t *testing.T) []rule {
	t.Helper()
	content, err := os.ReadFile(alertRules)
	check(t, err)
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	check(t, yaml.UnmarshalStrict(content, &file))
	return file.Groups[0].Rules
}

// TestRunbooks: every alert has a severity, a summary, a next step and a section of
// docs/runbooks.md with the three parts, and every section has its alert.
func TestRunbooks(t *testing.T) {
	page, err := os.ReadFile("../docs/runbooks.md")
	check(t, err)
	sections := map[string]string{}
	for _, text := range strings.Split(string(page), "\n## ")[1:] {
		name, body, _ := strings.Cut(text, "\n")
		sections[name] = body
	}
	for _, r := range rulesOf(t) {
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" ||
			!strings.HasSuffix(r.Annotations["runbook_url"], "docs/runbooks.md#"+strings.ToLower(r.Alert)) {
			t.Errorf("%s has the labels %v and the annotations %v", r.Alert, r.Labels, r.Annotations)
		}
		if r.Labels["scope"] == "workspace" && r.Labels["severity"] != "info" {
			t.Errorf("%s pages for a tenant's fault", r.Alert)
		}
		for _, part := range []string{"**What it means.**", "**What to look at.**", "**What to do.**"} {
			if !strings.Contains(sections[r.Alert], part) {
				t.Errorf("docs/runbooks.md, %s: no %s", r.Alert, part)
			}
		}
		delete(sections, r.Alert)
	}
	for name := range sections {
		t.Errorf("docs/runbooks.md has a section for %s, which is no alert", name)
	}
}

// TestMetricsWorthAnAlertHaveRules: what docs/metrics.md calls worth an alert is in a rule, and rules name
// only metrics that are there.
func TestMetricsWorthAnAlertHaveRules(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	check(t, err)
	_, list, found := strings.Cut(string(page), "\n## Worth an alert\n")
	if !found {
		t.Fatal("docs/metrics.md has no such list")
	}
	used := map[string]bool{}
	for _, r := range rulesOf(t) {
		for _, word := range strings.FieldsFunc(r.Expr, notInNames) {
			if strings.HasPrefix(word, "front_proxy_") || strings.HasPrefix(word, "proxy_") {
				used[word] = true
			}
		}
	}
	items := 0
	for _, item := range strings.Split(list, "\n- ")[1:] {
		items++
		expression, rest, _ := strings.Cut(strings.TrimPrefix(item, "`"), "`")
		if !slices.ContainsFunc(rulesOf(t), func(r rule) bool { return strings.Contains(rest, "runbooks.md#"+strings.ToLower(r.Alert)+")") }) {
			t.Errorf("docs/metrics.md names no alert for %s", expression)
		}
		for _, word := range strings.FieldsFunc(expression, notInNames) {
			if strings.HasPrefix(word, "front_proxy_") && !used[word] {
				t.Errorf("%s is worth an alert, but in no rule", word)
			}
		}
	}
	if items < 10 {
		t.Errorf("the list has %d items", items)
	}
	for word := range used {
		name := strings.TrimSuffix(strings.TrimSuffix(word, "_bucket"), "_count")
		if !bytes.Contains(page, []byte("| `"+name+"` |")) {
			t.Errorf("%s is no metric of docs/metrics.md", word)
		}
	}
}

func notInNames(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }
