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

// maxListed bounds what a page lists of what tenants can make many of.
const maxListed = 1000

// StatusSources are asked for /statusz. A nil source is skipped.
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

// ProxyStatus is what a front-proxy reports beyond other components.
type ProxyStatus struct {
	Root           *shards.ResourceWatchStatus          `json:"root,omitempty"`
	Shards         []ShardState                         `json:"shards"`
	Configurations []workspacetypes.ConfigurationStatus `json:"configurations,omitempty"`
	// ConfigurationCounts are all, by state; Omitted is how many are not listed.
	ConfigurationCounts  map[workspacetypes.ShownState]int `json:"configurationCounts,omitempty"`
	OmittedConfiguration int                               `json:"omittedConfigurations,omitempty"`
	Issuers              []ScopedIssuer                    `json:"issuers,omitempty"`
	OmittedIssuers       int                               `json:"omittedIssuers,omitempty"`
	Webhook              *webhook.Status                   `json:"webhook,omitempty"`
	Certificates         []CertificateState                `json:"certificates,omitempty"`
	ServiceAccountKeys   []serviceaccount.ShardKeysStatus  `json:"serviceAccountKeys,omitempty"`
	FailedReloads        map[string]string                 `json:"failedReloads,omitempty"`
}

// ShardState is one shard, and what the index has of it.
type ShardState struct {
	shards.ShardStatus `json:",inline"`
	LogicalClusters    int `json:"logicalClusters"`
	Workspaces         int `json:"workspaces"`
}

// ScopedIssuer is an issuer of the operator's or of workspaces.
type ScopedIssuer struct {
	Scope         string `json:"scope"`
	issuer.Status `json:",inline"`
}

// CertificateState is a certificate, or the first to end of a bundle.
type CertificateState struct {
	Role    string      `json:"role"`
	Source  string      `json:"source"`
	Subject string      `json:"subject"`
	Expires metav1.Time `json:"expires"`
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
	if s.Webhook != nil {
		asked := s.Webhook()
		out.Status.Webhook = &asked
	}
	out.Status.addCertificates(s)
	if s.ShardKeys != nil {
		out.Status.ServiceAccountKeys = s.ShardKeys()
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
	o.Root = &all.Root
	for _, s := range all.Shards {
		c := counts[s.Name]
		o.Shards = append(o.Shards, ShardState{s, c.LogicalClusters, c.Workspaces})
	}
}

// addConfigurations lists those in trouble first.
func (o *ProxyStatus) addConfigurations(s *StatusSources) {
	if s.Configurations == nil {
		return
	}
	all := s.Configurations()
	o.ConfigurationCounts = map[workspacetypes.ShownState]int{}
	for i := range all {
		o.ConfigurationCounts[all[i].State]++
	}
	order := []workspacetypes.ShownState{workspacetypes.ShownBroken, workspacetypes.ShownMissing, workspacetypes.ShownPending, workspacetypes.ShownReady, workspacetypes.ShownUnused}
	slices.SortStableFunc(all, func(a, b workspacetypes.ConfigurationStatus) int {
		return cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State))
	})
	o.Configurations, o.OmittedConfiguration = atMost(all)
}

func (o *ProxyStatus) addIssuers(s *StatusSources) {
	for _, scope := range slices.Sorted(maps.Keys(s.Issuers)) {
		for _, i := range s.Issuers[scope]() {
			o.Issuers = append(o.Issuers, ScopedIssuer{scope, i})
		}
	}
	ready := func(i ScopedIssuer) int { // to be listed last
		if i.State == issuer.Ready {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(o.Issuers, func(a, b ScopedIssuer) int { return ready(a) - ready(b) })
	o.Issuers, o.OmittedIssuers = atMost(o.Issuers)
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
			o.Certificates = append(o.Certificates, CertificateState{c.Role, c.Source, first.Subject.String(), metav1.NewTime(first.NotAfter)})
		}
	}
	slices.SortStableFunc(o.Certificates, func(a, b CertificateState) int { return a.Expires.Compare(b.Expires.Time) })
}
