package zpages

import (
	"cmp"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statusz "k8s.io/apiserver/pkg/server/statusz/api/v1alpha1"

	"frontproxy/authn/issuer"
	"frontproxy/authn/serviceaccount"
	"frontproxy/authn/webhook"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/internal/certs"
)

const (
	// maxListed bounds what a page lists of what tenants can make many of.
	maxListed = 1000
)

// StatusSources are asked for /statusz. A nil one has nothing to tell.
type StatusSources struct {
	// Version is the program's.
	Version string
	// Counts are what the index has of each shard.
	Counts func() []index.Count
	// Configurations are all WorkspaceAuthenticationConfigurations.
	Configurations func() []workspacetypes.ConfigurationStatus
	// Issuers are those in use, by scope: "global" and "workspace".
	Issuers map[string]func() []issuer.Status
	// ShardKeys are the service account keys learnt from shards.
	ShardKeys func() []serviceaccount.ShardKeysStatus
	// Webhook is the authentication webhook.
	Webhook func() webhook.Status
	// Certificates are those whose end matters; the Proxy adds its own.
	Certificates []certs.Source
	// Reloads tell why a changed file can not be used, by flag.
	Reloads map[string]func() error

	// The others are the Proxy's own: what it knows of shards, since when it runs, what
	// certificates it shows and expects, and why files of its own cannot be used.
	Shards          func() shards.Status
	Started         time.Time
	OwnCertificates func() []certs.Source
	OwnReloads      func() map[string]func() error
}

// Statusz is the page as JSON: Kubernetes' fields, and ours in status.
type Statusz struct {
	statusz.Statusz `json:",inline"`
	Status          ProxyStatus `json:"status"`
}

// ProxyStatus is what a front-proxy tells beyond other components.
type ProxyStatus struct {
	Root           *ResourceWatchState  `json:"root,omitempty"`
	Shards         []ShardState         `json:"shards"`
	Configurations []ConfigurationState `json:"configurations,omitempty"`
	// ConfigurationCounts are all, by state; Omitted is how many are not listed.
	ConfigurationCounts  map[string]int     `json:"configurationCounts,omitempty"`
	OmittedConfiguration int                `json:"omittedConfigurations,omitempty"`
	Issuers              []ScopedIssuer     `json:"issuers,omitempty"`
	OmittedIssuers       int                `json:"omittedIssuers,omitempty"`
	Webhook              *WebhookState      `json:"webhook,omitempty"`
	Certificates         []CertificateState `json:"certificates,omitempty"`
	ServiceAccountKeys   []ShardKeys        `json:"serviceAccountKeys,omitempty"`
	FailedReloads        map[string]string  `json:"failedReloads,omitempty"`
}

// ShardState is one shard.
type ShardState struct {
	Name            string               `json:"name"`
	State           string               `json:"state"`
	Synced          bool                 `json:"synced"`
	Since           *metav1.Time         `json:"since,omitempty"`
	Reason          string               `json:"reason,omitempty"`
	LogicalClusters int                  `json:"logicalClusters"`
	Workspaces      int                  `json:"workspaces"`
	Watches         []ResourceWatchState `json:"watches,omitempty"`
}

// ResourceWatchState is a list and watch.
type ResourceWatchState struct {
	Resource string       `json:"resource"`
	State    string       `json:"state"`
	Since    *metav1.Time `json:"since,omitempty"`
	Objects  int          `json:"objects"`
	Error    string       `json:"error,omitempty"`
	ErrorAt  *metav1.Time `json:"errorAt,omitempty"`
}

// ConfigurationState is a WorkspaceAuthenticationConfiguration.
type ConfigurationState struct {
	Shard   string   `json:"shard"`
	Cluster string   `json:"cluster"`
	Name    string   `json:"name"`
	Version string   `json:"version,omitempty"`
	State   string   `json:"state"`
	Error   string   `json:"error,omitempty"`
	Types   []string `json:"types,omitempty"`
	// LoginError is why login discovery tells nothing of it, though its annotations
	// ask for that.
	LoginError string `json:"loginError,omitempty"`
}

// ScopedIssuer is an issuer of the operator's or of workspaces.
type ScopedIssuer struct {
	Scope       string `json:"scope"`
	IssuerState `json:",inline"`
}

// WebhookState is the authentication webhook; Reviews are the questions it was
// asked, by result.
type WebhookState struct {
	State   string            `json:"state"`
	Detail  string            `json:"detail,omitempty"`
	Reviews map[string]uint64 `json:"reviews,omitempty"`
}

// CertificateState is a certificate, or the first to end of a bundle.
type CertificateState struct {
	Role    string       `json:"role"`
	Source  string       `json:"source"`
	Subject string       `json:"subject"`
	Expires *metav1.Time `json:"expires"`
}

// ShardKeys are the service account keys that a shard publishes.
type ShardKeys struct {
	Shard  string       `json:"shard"`
	KeyIDs []string     `json:"keyIDs,omitempty"`
	Read   *metav1.Time `json:"read,omitempty"`
	Error  string       `json:"error,omitempty"`
}

// ServeStatusz answers in text, as Kubernetes' components do, or in JSON.
func (s *StatusSources) ServeStatusz(w http.ResponseWriter, r *http.Request, now time.Time) {
	page := s.Statusz(now)
	if wantsJSON(r, "Statusz") {
		WriteJSON(w, page)
		return
	}
	writeText(w, page.text(now))
}

// Statusz is the page as of now.
func (s *StatusSources) Statusz(now time.Time) *Statusz {
	out := &Statusz{Statusz: statusz.Statusz{
		TypeMeta: metav1.TypeMeta{Kind: "Statusz", APIVersion: zpagesVersion}, ObjectMeta: metav1.ObjectMeta{Name: componentName},
		StartTime: metav1.Time{Time: s.Started}, UptimeSeconds: int64(max(0, now.Sub(s.Started).Seconds())),
		GoVersion: runtime.Version(), BinaryVersion: s.Version, Paths: []string{"/debug", FlagzPath, "/healthz", "/livez", MetricsPath, "/readyz", StatuszPath},
	}}
	out.Status.addShards(s)
	out.Status.addConfigurations(s)
	out.Status.addIssuers(s)
	out.Status.addWebhook(s)
	out.Status.addCertificates(s)
	if s.ShardKeys != nil {
		for _, k := range s.ShardKeys() {
			out.Status.ServiceAccountKeys = append(out.Status.ServiceAccountKeys, ShardKeys{k.Shard, k.IDs, timeOf(k.Read), textOf(k.Err)})
		}
	}
	out.Status.addReloads(s.Reloads)
	if s.OwnReloads != nil {
		out.Status.addReloads(s.OwnReloads())
	}
	return out
}

func (o *ProxyStatus) addReloads(lastErrors map[string]func() error) {
	for source, lastError := range lastErrors {
		if err := lastError(); err != nil {
			if o.FailedReloads == nil {
				o.FailedReloads = map[string]string{}
			}
			o.FailedReloads[source] = err.Error()
		}
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (o *ProxyStatus) addShards(s *StatusSources) {
	counts := map[string]index.Count{}
	if s.Counts != nil {
		for _, c := range s.Counts() {
			counts[c.Shard] = c
		}
	}
	if s.Shards == nil {
		return
	}
	all := s.Shards()
	root := resourceWatchState(&all.Root)
	o.Root = &root
	for i := range all.Shards {
		from := &all.Shards[i]
		c := counts[from.Name]
		to := ShardState{
			Name: from.Name, State: string(from.State), Synced: from.Synced, Since: timeOf(from.Since), Reason: from.Reason,
			LogicalClusters: c.LogicalClusters, Workspaces: c.Workspaces,
		}
		for n := range from.Watches {
			to.Watches = append(to.Watches, resourceWatchState(&from.Watches[n]))
		}
		o.Shards = append(o.Shards, to)
	}
}

func resourceWatchState(f *shards.ResourceWatchStatus) ResourceWatchState {
	return ResourceWatchState{f.Resource, string(f.State), timeOf(f.Since), f.Objects, f.Error, timeOf(f.ErrorAt)}
}

// addConfigurations lists those in trouble first.
func (o *ProxyStatus) addConfigurations(s *StatusSources) {
	if s.Configurations == nil {
		return
	}
	o.ConfigurationCounts = map[string]int{}
	for _, c := range s.Configurations() {
		o.ConfigurationCounts[string(c.State)]++
		o.Configurations = append(o.Configurations, ConfigurationState{c.Shard, c.Cluster, c.Name, c.Version, string(c.State), c.Error, c.Types, c.LoginError})
	}
	order := []string{string(workspacetypes.ShownBroken), string(workspacetypes.ShownMissing), string(workspacetypes.ShownPending), string(workspacetypes.ShownReady), string(workspacetypes.ShownUnused)}
	slices.SortStableFunc(o.Configurations, func(a, b ConfigurationState) int {
		return cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State))
	})
	o.Configurations, o.OmittedConfiguration = atMost(o.Configurations)
}

func (o *ProxyStatus) addIssuers(s *StatusSources) {
	for _, scope := range slices.Sorted(maps.Keys(s.Issuers)) {
		for _, i := range s.Issuers[scope]() {
			o.Issuers = append(o.Issuers, ScopedIssuer{scope, *issuerState(&i)})
		}
	}
	ready := func(i ScopedIssuer) int { // to be listed last
		if i.State == string(issuer.Ready) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(o.Issuers, func(a, b ScopedIssuer) int { return ready(a) - ready(b) })
	o.Issuers, o.OmittedIssuers = atMost(o.Issuers)
}

func (o *ProxyStatus) addWebhook(s *StatusSources) {
	if s.Webhook == nil {
		return
	}
	w := s.Webhook()
	o.Webhook = &WebhookState{State: string(w.State), Detail: w.Detail}
	for result, n := range w.Counts {
		if o.Webhook.Reviews == nil {
			o.Webhook.Reviews = map[string]uint64{}
		}
		o.Webhook.Reviews[string(result)] = n
	}
}

func atMost[T any](all []T) (some []T, omitted int) {
	n := min(len(all), maxListed)
	return all[:n], len(all) - n
}

func (o *ProxyStatus) addCertificates(s *StatusSources) {
	all := s.Certificates
	if s.OwnCertificates != nil {
		all = slices.Concat(s.OwnCertificates(), all)
	}
	for _, c := range all {
		if first := certs.Earliest(c.PEM()); first != nil {
			o.Certificates = append(o.Certificates, CertificateState{c.Role, c.Source, first.Subject.String(), timeOf(first.NotAfter)})
		}
	}
	slices.SortStableFunc(o.Certificates, func(a, b CertificateState) int { return a.Expires.Compare(b.Expires.Time) })
}
