package zpages

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn/webhook"
	"frontproxy/index/shards"
)

// text is the page for people.
func (s *Statusz) text(now time.Time) string {
	var b strings.Builder
	b.WriteString(pageHeader("statusz"))
	up := s.UptimeSeconds
	fmt.Fprintf(&b, "Started: %s\nUp: %d hr %02d min %02d sec\nGo version: %s\nBinary version: %s\nPaths: %s\n",
		s.StartTime.Format(time.UnixDate), up/3600, up/60%60, up%60, s.GoVersion, s.BinaryVersion, strings.Join(s.Paths, " "))
	t := &table{w: tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0), now: now}
	s.Status.shardsText(t)
	s.Status.issuersText(t)
	s.Status.othersText(t)
	_ = t.w.Flush() // into memory
	return b.String()
}

// table writes sections of aligned columns.
type table struct {
	w   *tabwriter.Writer
	now time.Time
}

func (t *table) section(title string, columns ...string) {
	_ = t.w.Flush()
	_, _ = fmt.Fprintf(t.w, "\n%s\n", title)
	_ = t.w.Flush()
	t.row(columns...)
}

func (t *table) row(columns ...string) {
	for i, c := range columns {
		if c == "" {
			c = "-"
		}
		columns[i] = strings.Map(func(r rune) rune { // a tenant's text stays in its cell
			if r < ' ' || r >= 0x7f && r < 0xa0 {
				return ' '
			}
			return r
		}, c)
	}
	_, _ = fmt.Fprintln(t.w, "  "+strings.Join(columns, "\t"))
}

// until is how long a certificate is still good.
func (t *table) until(end metav1.Time) string {
	left := end.Sub(t.now).Round(time.Minute)
	if end.Time.Before(t.now) {
		return "expired " + (-left).String() + " ago"
	}
	return left.String()
}

// age is how long ago a time was.
func (t *table) age(at metav1.Time) string {
	if at.IsZero() {
		return "never"
	}
	return t.now.Sub(at.Time).Round(time.Second).String()
}

func (o *ProxyStatus) shardsText(t *table) {
	t.section("Shards", "NAME", "STATE", "FOR", "LOGICAL CLUSTERS", "WORKSPACES", "NOTE")
	for _, s := range o.Shards {
		t.row(s.Name, string(s.State), t.age(s.Since), fmt.Sprint(s.LogicalClusters), fmt.Sprint(s.Workspaces), s.Reason)
	}
	t.section("Watches", "SHARD", "RESOURCE", "STATE", "FOR", "OBJECTS", "LAST ERROR")
	if o.Root != nil {
		t.row(append([]string{"(root)"}, t.watch(o.Root)...)...)
	}
	for _, s := range o.Shards {
		for i := range s.Watches {
			t.row(append([]string{s.Name}, t.watch(&s.Watches[i])...)...)
		}
	}
}

// watch has the columns of a watch, without its shard.
func (t *table) watch(s *shards.ResourceWatchStatus) []string {
	last := s.Error
	if last != "" {
		last += " (" + t.age(s.ErrorAt) + " ago)"
	}
	return []string{s.Resource, string(s.State), t.age(s.Since), fmt.Sprint(s.Objects), last}
}

func (o *ProxyStatus) issuersText(t *table) {
	t.section("Issuers", "SCOPE", "URL", "STATE", "READ", "USERS", "KEY IDS", "LAST ERROR")
	for _, i := range o.Issuers {
		t.row(i.Scope, i.URL, string(i.State), t.age(i.LastSuccess), fmt.Sprint(i.Users), strings.Join(i.KeyIDs, ","), i.LastError)
	}
	omitted(t, o.OmittedIssuers)
	t.section("Authentication configurations", "SHARD", "CLUSTER", "NAME", "STATE", "USED BY TYPES", "ERROR", "LOGIN DISCOVERY")
	for _, c := range o.Configurations {
		t.row(c.Shard, c.Cluster, c.Name, string(c.State), strings.Join(c.Types, ","), c.Error, c.LoginError)
	}
	omitted(t, o.OmittedConfiguration)
}

func omitted(t *table, n int) {
	if n > 0 {
		t.row(fmt.Sprintf("… and %d more", n))
	}
}

func (o *ProxyStatus) othersText(t *table) {
	if w := o.Webhook; w != nil {
		t.section("Authentication webhook", "STATE", "ACCEPTED", "REFUSED", "401 OR 403", "FAILED", "DETAIL")
		n := func(r webhook.Result) string { return fmt.Sprint(w.Counts[r]) }
		t.row(string(w.State), n(webhook.Accepted), n(webhook.Refused), n(webhook.Unauthorized), n(webhook.Failed), w.Detail)
	}
	t.section("Certificates", "ROLE", "SOURCE", "SUBJECT", "EXPIRES", "IN")
	for _, c := range o.Certificates {
		t.row(c.Role, c.Source, c.Subject, c.Expires.UTC().Format(time.RFC3339), t.until(c.Expires))
	}
	if len(o.ServiceAccountKeys) > 0 {
		t.section("Service account keys of shards", "SHARD", "READ", "KEY IDS", "ERROR")
		for _, k := range o.ServiceAccountKeys {
			t.row(k.Shard, t.age(k.Read), strings.Join(k.IDs, ","), k.Error)
		}
	}
	if len(o.FailedReloads) > 0 {
		t.section("Changed files that cannot be used", "FLAG", "ERROR")
		for _, source := range slices.Sorted(maps.Keys(o.FailedReloads)) {
			t.row(source, o.FailedReloads[source])
		}
	}
}
