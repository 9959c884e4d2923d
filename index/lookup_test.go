package index

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"frontproxy/index/shards"
)

// Names as kcp makes them.
const (
	orgID   = "1org000000000000"
	teamID  = "1team00000000000"
	otherID = "1other0000000000"
	homeID  = "v1u4alow0iv9" // alice's
)

// org is a small installation: root:org:team on shard "two", the rest on "root".
func org(w *world) {
	w.synced("root", "two")
	w.add("root",
		lc("root", annotated("root:root")), lc(orgID, owned, annotated("root:evil")),
		ws("root", "org", orgID, typed("root", "organization")),
		ws(orgID, "team", teamID, typed("root:org", "team")))
	w.add("two", lc(teamID, owned, annotated("root:evil")))
}

var (
	rootType = Type{Cluster: "root", Name: "root", Path: "root"}
	orgType  = Type{Cluster: "root", Name: "organization", Path: "root"}
	teamType = Type{Cluster: orgID, Name: "team", Path: "root:org"}
)

func TestLookup(t *testing.T) {
	tests := []struct {
		name string
		with func(*world) // after org
		path string
		want answer
	}{
		{name: "cluster by name", path: teamID, want: answer{Cluster: teamID, Shard: "two", Type: teamType}},
		{name: "path over two shards", path: "root:org:team", want: answer{Cluster: teamID, Shard: "two", Type: teamType}},
		{name: "path from a cluster's name", path: orgID + ":team", want: answer{Cluster: teamID, Shard: "two", Type: teamType}},
		{name: "root has its annotation's type", path: "root", want: answer{Cluster: "root", Shard: "root", Type: rootType}},
		{name: "empty", path: "", want: answer{Err: ErrUnknown}},
		{name: "wildcard", path: "*", want: answer{Err: ErrUnknown}},
		{name: "colon", path: ":", want: answer{Err: ErrUnknown}},
		{name: "trailing colon", path: "root:", want: answer{Err: ErrUnknown}},
		{name: "doubled colon", path: "root::org", want: answer{Err: ErrUnknown}},
		{name: "huge", path: "root:" + strings.Repeat("x", 1<<20), want: answer{Err: ErrUnknown}},
		{name: "huge user", path: "user:" + strings.Repeat("x", 1<<20), want: answer{Err: ErrUnknown}},
		{name: "user alone is a cluster's name", path: "user", want: answer{Err: ErrUnknown}},
		{name: "unknown below a known one", path: "root:org:nobody", want: answer{Err: ErrUnknown}},

		{
			name: "home", path: "user:alice",
			with: func(w *world) { w.add("two", lc(homeID, annotated("root:home"))) },
			want: answer{Cluster: homeID, Shard: "two", Type: Type{Cluster: "root", Name: "home", Path: "root"}},
		},
		{
			name: "below home", path: "user:alice:team",
			with: func(w *world) {
				w.add("two", lc(homeID, annotated("root:home")), ws(homeID, "team", otherID))
				w.add("root", lc(otherID))
			},
			want: answer{Cluster: otherID, Shard: "root"},
		},

		{
			name: "scheduling is not there", path: "root:org:new",
			with: func(w *world) { w.add("root", ws(orgID, "new", otherID, phased("Scheduling")), lc(otherID)) },
			want: answer{Err: ErrUnknown},
		},
		{
			name: "scheduling gives a type already", path: otherID,
			with: func(w *world) {
				w.add("root", ws(orgID, "new", otherID, phased("Scheduling"), typed("root:org", "team")), lc(otherID))
			},
			want: answer{Cluster: otherID, Shard: "root", Type: teamType},
		},
		{
			name: "unavailable", path: "root:org:team",
			with: func(w *world) {
				w.add("root", ws(orgID, "team", teamID, phased("Unavailable"), typed("root:org", "team")))
			},
			want: answer{Err: ErrUnavailable},
		},
		{
			name: "below unavailable, whether there or not", path: "root:org:nobody",
			with: func(w *world) {
				w.add("root", ws("root", "org", orgID, phased("Unavailable"), typed("root", "organization")))
			},
			want: answer{Err: ErrUnavailable},
		},
		{
			name: "unavailable by its own name", path: orgID,
			with: func(w *world) {
				w.add("root", ws("root", "org", orgID, phased("Unavailable"), typed("root", "organization")))
			},
			want: answer{Cluster: orgID, Shard: "root", Type: orgType},
		},
		{
			name: "workspace without a cluster yet", path: "root:new",
			with: func(w *world) { w.add("root", ws("root", "new", "")) },
			want: answer{Err: ErrUnknown},
		},
		{
			name: "workspace before its cluster", path: "root:new",
			with: func(w *world) { w.add("root", ws("root", "new", otherID)) },
			want: answer{Err: ErrUnknown},
		},
		{
			name: "workspace gone before its cluster", path: "root:org:team",
			with: func(w *world) { w.del("root", ws(orgID, "team", teamID)) },
			want: answer{Err: ErrUnknown},
		},
		{
			name: "cluster gone before its workspace", path: "root:org:team",
			with: func(w *world) { w.del("two", lc(teamID)) },
			want: answer{Err: ErrUnknown},
		},
		{
			name: "a delete on another shard removes nothing", path: "root:org:team",
			with: func(w *world) { w.del("root", lc(teamID)); w.del("two", ws(orgID, "team", teamID)) },
			want: answer{Cluster: teamID, Shard: "two", Type: teamType},
		},
		{
			name: "a LogicalCluster of another name stands for nothing", path: "root:org:team",
			with: func(w *world) {
				o := lc(teamID)
				o.Metadata.Name = "impostor"
				w.add("root", o)
			},
			want: answer{Cluster: teamID, Shard: "two", Type: teamType},
		},

		{
			name: "mount", path: "root:org:m",
			with: func(w *world) { w.add("root", ws(orgID, "m", "", mounted("https://there.example/x"))) },
			want: answer{Mount: "https://there.example/x", MountParent: orgID},
		},
		{
			name: "below a mount", path: "root:org:m:team",
			with: func(w *world) { w.add("root", ws(orgID, "m", orgID, mounted("https://there.example/x"))) },
			want: answer{Err: ErrUnknown},
		},
		{
			name: "a mount's spec.cluster leads nowhere", path: "root:org:m",
			with: func(w *world) { w.add("root", ws(orgID, "m", teamID, mounted(""))) },
			want: answer{Err: ErrUnknown},
		},
		{
			name: "a mount gives no type", path: teamID,
			with: func(w *world) {
				w.add("root", ws(orgID, "m", teamID, mounted("https://there.example"), typed("root", "evil")))
			},
			want: answer{Cluster: teamID, Shard: "two", Type: teamType},
		},
		{
			name: "mount with an unusable URL", path: "root:org:m",
			with: func(w *world) { w.add("root", ws(orgID, "m", "", mounted("javascript:alert(1)"))) },
			want: answer{Err: ErrUnknown},
		},
		{
			name: "unavailable mount", path: "root:org:m",
			with: func(w *world) {
				w.add("root", ws(orgID, "m", "", mounted("https://there.example"), phased("Unavailable")))
			},
			want: answer{Err: ErrUnavailable},
		},
		{
			name: "mount removed, workspace of the same name", path: "root:org:m",
			with: func(w *world) {
				m := ws(orgID, "m", "", mounted("https://there.example"))
				w.add("root", m)
				w.del("root", m)
				w.add("root", ws(orgID, "m", teamID, typed("root:org", "team")))
			},
			// Two Workspaces now name the cluster.
			want: answer{Cluster: teamID, Shard: "two", Type: Type{Err: ErrConflict}},
		},

		{
			name: "its workspace turned into a mount: the annotation stays out", path: teamID,
			with: func(w *world) {
				w.add("root", ws(orgID, "team", teamID, mounted("https://there.example"), typed("root:org", "team")))
				w.add("two", lc(teamID, annotated("root:evil"))) // and spec.owner removed
			},
			want: answer{Cluster: teamID, Shard: "two", Type: Type{Err: ErrUnknown}},
		},
		{
			name: "its workspace gone: the annotation stays out", path: teamID,
			with: func(w *world) {
				w.del("root", ws(orgID, "team", teamID))
				w.add("two", lc(teamID, annotated("root:evil")))
			},
			want: answer{Cluster: teamID, Shard: "two", Type: Type{Err: ErrUnknown}},
		},
		{
			name: "a home with an owner is none", path: homeID,
			with: func(w *world) { w.add("two", lc(homeID, owned, annotated("root:home"))) },
			want: answer{Cluster: homeID, Shard: "two", Type: Type{Err: ErrUnknown}},
		},
		{
			name: "no workspace gives root a type", path: "root",
			with: func(w *world) { w.add("root", ws(orgID, "r", "root", typed("root:org", "team"))) },
			want: answer{Cluster: "root", Shard: "root", Type: rootType},
		},
		{
			name: "home without annotation has no type", path: homeID,
			with: func(w *world) { w.add("two", lc(homeID)) },
			want: answer{Cluster: homeID, Shard: "two"},
		},
		{
			name: "workspace without a type", path: "root:plain",
			with: func(w *world) { w.add("root", ws("root", "plain", otherID), lc(otherID)) },
			want: answer{Cluster: otherID, Shard: "root"},
		},
		{
			name: "type of an unknown owner", path: "root:plain",
			with: func(w *world) { w.add("root", ws("root", "plain", otherID, typed("root:none", "x")), lc(otherID)) },
			want: answer{Cluster: otherID, Shard: "root", Type: Type{Name: "x", Path: "root:none", Err: ErrUnknown}},
		},
		{
			name: "type of a mount", path: "root:plain",
			with: func(w *world) {
				w.add("root", ws("root", "m", "", mounted("https://there.example")),
					ws("root", "plain", otherID, typed("root:m", "x")), lc(otherID))
			},
			want: answer{Cluster: otherID, Shard: "root", Type: Type{Name: "x", Path: "root:m", Err: ErrUnknown}},
		},
		{
			name: "type of an unavailable owner", path: teamID,
			with: func(w *world) {
				w.add("root", ws("root", "org", orgID, phased("Unavailable"), typed("root", "organization")))
			},
			want: answer{Cluster: teamID, Shard: "two", Type: Type{Name: "team", Path: "root:org", Err: ErrUnavailable}},
		},

		{
			name: "two shards: the one not migrating", path: teamID,
			with: func(w *world) { w.add("two", lc(teamID, migrating)); w.add("root", lc(teamID)) },
			want: answer{Cluster: teamID, Shard: "root", Type: teamType},
		},
		{
			name: "two shards: both migrating", path: "root:org:team",
			with: func(w *world) { w.add("two", lc(teamID, migrating)); w.add("root", lc(teamID, migrating)) },
			want: answer{Cluster: teamID, Err: ErrConflict},
		},
		{
			name: "two shards: neither migrating", path: "root:org:team",
			with: func(w *world) { w.add("root", lc(teamID)) },
			want: answer{Cluster: teamID, Err: ErrConflict},
		},
		{
			name: "two shards above the last cluster", path: "root:org:team",
			with: func(w *world) { w.add("root", lc(orgID)); w.add("two", lc(orgID)) },
			want: answer{Err: ErrConflict},
		},
		{
			name: "migrating alone", path: teamID,
			with: func(w *world) { w.add("two", lc(teamID, migrating)) },
			want: answer{Cluster: teamID, Shard: "two", Type: teamType},
		},
		{
			name: "moved, new before old", path: "root:org:team",
			with: func(w *world) { w.add("root", lc(teamID)); w.del("two", lc(teamID)) },
			want: answer{Cluster: teamID, Shard: "root", Type: teamType},
		},
		{
			name: "workspaces are read where their parent is", path: "root:org:team",
			with: func(w *world) { w.add("two", ws(orgID, "team", otherID), lc(otherID)) },
			want: answer{Cluster: teamID, Shard: "two", Type: teamType},
		},
		{
			name: "a left workspace gives no type", path: otherID,
			with: func(w *world) { w.add("two", ws(orgID, "gone", otherID, typed("root", "evil")), lc(otherID)) },
			want: answer{Cluster: otherID, Shard: "two", Type: Type{Err: ErrUnknown}},
		},
		{
			name: "a left workspace keeps a home's annotation out", path: homeID,
			with: func(w *world) {
				w.add("two", ws(orgID, "gone", homeID, typed("root", "evil")), lc(homeID, annotated("root:home")))
			},
			want: answer{Cluster: homeID, Shard: "two", Type: Type{Err: ErrUnknown}},
		},
		{
			name: "parent migrating: both copies agree on the type", path: teamID,
			with: func(w *world) {
				w.add("two", lc(orgID), ws(orgID, "team", teamID, typed("root", "organization")))
				w.add("root", ws(orgID, "team", teamID, typed("root", "organization")))
			},
			want: answer{Cluster: teamID, Shard: "two", Type: orgType},
		},
		{
			name: "parent migrating: the copies differ", path: teamID,
			with: func(w *world) {
				w.add("two", lc(orgID), ws(orgID, "team", teamID, typed("root", "evil")))
			},
			want: answer{Cluster: teamID, Shard: "two", Type: Type{Err: ErrConflict}},
		},
		{
			name: "two workspaces name one cluster", path: "root:org:team",
			with: func(w *world) { w.add("root", ws("root", "twin", teamID, typed("root:org", "team"))) },
			want: answer{Cluster: teamID, Shard: "two", Type: Type{Err: ErrConflict}},
		},
		{
			name: "shard removed", path: "root:org:team",
			with: func(w *world) { w.RemoveShard("two") },
			want: answer{Err: ErrUnknown},
		},
		{
			name: "shard came back with other contents", path: "root:org:team",
			with: func(w *world) {
				w.RemoveShard("two")
				w.synced("two")
				w.add("two", lc(otherID))
			},
			want: answer{Err: ErrUnknown},
		},
		{
			name: "relist leaves it out", path: "root:org:team",
			with: func(w *world) { w.tables["two"].clusters.Begin(); w.tables["two"].clusters.End("") },
			want: answer{Err: ErrUnknown},
		},
		{
			name: "relist under way removes nothing", path: "root:org:team",
			with: func(w *world) { w.tables["two"].clusters.Begin() },
			want: answer{Cluster: teamID, Shard: "two", Type: teamType},
		},
		{
			name: "shard without a usable address any more", path: teamID,
			with: func(w *world) { w.SetShard("two", nil) },
			want: answer{Err: ErrUnknown},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			org(w)
			if tt.with != nil {
				tt.with(w)
			}
			w.check(t)
			if diff := cmp.Diff(tt.want, w.lookup(tt.path), cmpopts.EquateErrors()); diff != "" {
				t.Errorf("Lookup(%.40q) (-want +got):\n%s", tt.path, diff)
			}
		})
	}
}

func TestNotSynced(t *testing.T) {
	tests := []struct {
		name string
		with func(*world)
		path string
		want answer
	}{
		{name: "nothing heard of root", path: "root", want: answer{Err: ErrNotSynced}},
		{
			name: "nothing heard of root for too long", path: "root",
			with: func(w *world) { w.clock.SetTime(epoch.Add(Grace)) },
			want: answer{Err: ErrUnknown},
		},
		{name: "no shards", path: "root", with: func(w *world) { w.synced() }, want: answer{Err: ErrUnknown}},
		{
			name: "one shard never read", path: "root:org",
			with: func(w *world) { w.synced("root"); w.shard("two") },
			want: answer{Err: ErrNotSynced},
		},
		{
			name: "one shard without an address", path: "root:org",
			with: func(w *world) { w.synced("root"); w.SetShard("two", nil) },
			want: answer{Err: ErrNotSynced},
		},
		{
			name: "only one table read", path: "root:org",
			with: func(w *world) {
				w.synced("root")
				s := w.shard("two")
				s.clusters.Begin()
				s.clusters.End("")
			},
			want: answer{Err: ErrNotSynced},
		},
		{
			name: "just before the grace ends", path: "root:org",
			with: func(w *world) {
				w.synced("root")
				w.clock.SetTime(epoch.Add(time.Hour))
				w.shard("two")
				w.clock.SetTime(epoch.Add(time.Hour + Grace - 1))
			},
			want: answer{Err: ErrNotSynced},
		},
		{
			name: "the grace is over", path: "root:org",
			with: func(w *world) {
				w.synced("root")
				w.shard("two")
				w.clock.SetTime(epoch.Add(Grace))
			},
			want: answer{Err: ErrUnknown},
		},
		{
			name: "a new address does not renew the grace", path: "root:org",
			with: func(w *world) {
				w.synced("root")
				w.shard("two")
				w.clock.SetTime(epoch.Add(Grace))
				w.SetShard("two", &shards.Shard{Name: "two"})
			},
			want: answer{Err: ErrUnknown},
		},
		{
			name: "the shard never read is removed", path: "root:org",
			with: func(w *world) { w.synced("root"); w.shard("two"); w.RemoveShard("two") },
			want: answer{Err: ErrUnknown},
		},
		{
			name: "what is known is served", path: "root",
			with: func(w *world) { w.synced("root"); w.shard("two"); w.add("root", lc("root", annotated("root:root"))) },
			want: answer{Cluster: "root", Shard: "root", Type: rootType},
		},
		{
			name: "a first list under way serves what came", path: "root",
			with: func(w *world) { s := w.shard("root"); s.clusters.Begin(); w.add("root", lc("root")) },
			want: answer{Cluster: "root", Shard: "root"},
		},
		{
			name: "a workspace's type, its parent's shard never read", path: teamID,
			with: func(w *world) { w.synced("two"); w.shard("root"); w.add("two", lc(teamID, annotated("root:evil"))) },
			want: answer{Cluster: teamID, Shard: "two", Type: Type{Err: ErrNotSynced}},
		},
		{
			name: "a home's type, another shard never read", path: homeID,
			with: func(w *world) { w.synced("two"); w.shard("root"); w.add("two", lc(homeID, annotated("root:home"))) },
			want: answer{Cluster: homeID, Shard: "two", Type: Type{Err: ErrNotSynced}},
		},
		{
			name: "a type's owner on a shard never read", path: teamID,
			with: func(w *world) {
				w.synced("two")
				w.shard("root")
				w.add("two", lc(teamID), ws(otherID, "team", teamID, typed("root:org", "team")))
			},
			want: answer{Cluster: teamID, Shard: "two", Type: Type{Name: "team", Path: "root:org", Err: ErrNotSynced}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			if tt.with != nil {
				tt.with(w)
			}
			w.check(t)
			if diff := cmp.Diff(tt.want, w.lookup(tt.path), cmpopts.EquateErrors()); diff != "" {
				t.Errorf("Lookup(%q) (-want +got):\n%s", tt.path, diff)
			}
		})
	}
}

func TestHolderShardsCounts(t *testing.T) {
	w := newWorld()
	org(w)
	w.SetShard("broken", nil)
	if s, err := w.Holder(teamID); err != nil || s.Name != "two" {
		t.Errorf("Holder(%q) = %v, %v; want two", teamID, s, err)
	}
	if _, err := w.Holder("root:org"); err != ErrNotSynced { //nolint:errorlint // unwrapped by contract
		t.Errorf("Holder of a path: %v, want %v", err, ErrNotSynced)
	}
	if got := w.Shards(); len(got) != 2 || got[0].Name != "root" || got[1].Name != "two" {
		t.Errorf("Shards() = %v, want root and two", got)
	}
	want := []Count{{Shard: "broken"}, {Shard: "root", LogicalClusters: 2, Workspaces: 2}, {Shard: "two", LogicalClusters: 1}}
	if diff := cmp.Diff(want, w.Counts()); diff != "" {
		t.Errorf("Counts (-want +got):\n%s", diff)
	}
}

func TestHomeCluster(t *testing.T) {
	for user, want := range map[string]string{ // contract, section 3
		"alice": "v1u4alow0iv9", "bob": "2okdry95y5lkv", "user172": "0f9mt7goyif7",
	} {
		got := string(homeCluster(nil, user))
		if got != want {
			t.Errorf("home of %q is %q, want %q", user, got, want)
		}
		if !homeShaped(got) {
			t.Errorf("%q does not look like a home", got)
		}
	}
	for _, name := range []string{"", "root", "1234567", "12345678901234", teamID, "v1u4alow0iV9", "v1u4-low0iv9"} {
		if homeShaped(name) {
			t.Errorf("%q looks like a home", name)
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	w := newWorld()
	org(w)
	w.add("two", lc(homeID, annotated("root:home")))
	for _, path := range []string{"root:org:team", teamID, "user:alice", "root:nobody"} {
		if n := testing.AllocsPerRun(100, func() { _, _ = w.Lookup(path) }); n != 0 {
			t.Errorf("Lookup(%q) allocates %v times", path, n)
		}
	}
}

func FuzzLookup(f *testing.F) {
	for _, s := range []string{"", "root", "root:org:team", "user:alice:x", "user:", "::", "*", teamID + ":", "root:org:m:x", "\x00:\xff"} {
		f.Add(s)
	}
	w := newWorld()
	org(w)
	w.add("root", ws(orgID, "m", teamID, mounted("https://there.example")))
	f.Fuzz(func(t *testing.T, path string) {
		target, err := w.Lookup(path)
		switch {
		case err != nil && target != (Target{}):
			t.Errorf("Lookup(%q) returns both %+v and %v", path, target, err)
		case err == nil && (target.Mount != nil) == (target.Shard != nil && target.Cluster != ""):
			t.Errorf("Lookup(%q) is neither one cluster nor one mount: %+v", path, target)
		case err == nil && target.Mount == nil && w.lookup(target.Cluster) != w.lookup(path):
			t.Errorf("Lookup(%q) differs from its cluster's %q", path, target.Cluster)
		}
	})
}
