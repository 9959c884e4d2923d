package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/e2e/harness"
)

// randomPaths is how many paths are made up beside those that are listed.
const randomPaths = 600

// TestPathsAreReadAsAShardReadsThem sends paths byte for byte to the proxy and,
// with a certificate that may do everything, to the shard behind it. Whatever
// the proxy lets through, the shard must have understood to be about the one
// cluster that the proxy took it to be about: by the objects that it returns.
// And no path leads a workspace's user into another workspace.
func TestPathsAreReadAsAShardReadsThem(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("a", trust(issuer))
	mine, other := o.workspace("mine", o.kind("team", "a"), shardOne), o.workspace("other", harness.TypeRef{}, shardOne)
	for _, ws := range []harness.Workspace{mine, other} {
		check(t, env.Admin().Grant(t.Context(), ws.Path, "e2e-all", harness.Everything(), harness.Group("system:authenticated")))
		kube, err := env.Admin().Kube(ws.Path)
		check(t, err)
		_, err = kube.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "marker"}}, metav1.CreateOptions{})
		check(t, err)
	}
	jwt := token(issuer, "ada@example.com")
	eventuallyIn(t, env.Token(jwt), mine.Path)

	admin := env.AdminKeys()
	masters, err := env.ClientCA.Client(t.TempDir(), "paths", "system:masters")
	check(t, err)
	asUser := &wire{t: t, address: strings.TrimPrefix(env.Proxy.URL, "https://"), header: "Authorization: Bearer " + jwt + "\r\n"}
	asAdmin := &wire{t: t, address: strings.TrimPrefix(env.Proxy.URL, "https://"), keys: &admin}
	atShard := &wire{t: t, address: strings.TrimPrefix(env.Shard(shardOne).URL, "https://"), keys: &masters}
	for _, w := range []*wire{asUser, asAdmin, atShard} {
		defer w.close()
	}

	marker := func(cluster string) string {
		return "/clusters/" + cluster + "/api/v1/namespaces/default/configmaps/marker"
	}
	// Without rights to read the markers nothing below would mean much.
	for _, path := range []string{marker(mine.Cluster), marker(mine.Path)} {
		for name, w := range map[string]*wire{"user": asUser, "administrator": asAdmin} {
			eventually(t, "the "+name+" to read "+path, func(context.Context) error {
				if code, clusters := w.get(path); code != http.StatusOK || !slices.Equal(clusters, []string{mine.Cluster}) {
					return fmt.Errorf("answered %d about %v", code, clusters)
				}
				return nil
			})
		}
	}

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	paths := listedPaths(mine, other)
	for range randomPaths {
		paths = append(paths, madeUp(random, mine, other))
	}
	through := 0
	for _, path := range paths {
		code, clusters := asUser.get(path)
		if slices.Contains(clusters, other.Cluster) {
			t.Errorf("%q leads a user of %s into another workspace (%d about %v)", path, mine.Cluster, code, clusters)
		}
		code, clusters = asAdmin.get(path)
		if code != http.StatusOK {
			continue
		}
		through++
		// The shard knows the cluster by its name; root, where its path begins, is on
		// another one.
		directly, truly := atShard.get(byName(path, mine, other))
		if directly != http.StatusOK || !slices.Equal(clusters, truly) {
			t.Errorf("%q through the proxy is about %v, at the shard %d about %v", path, clusters, directly, truly)
		}
		if len(clusters) > 1 {
			t.Errorf("%q is about several clusters: %v", path, clusters)
		}
		if named := firstCluster(path); len(clusters) == 1 && !slices.Contains(map[string][]string{
			mine.Cluster: {mine.Cluster, mine.Path}, other.Cluster: {other.Cluster, other.Path}, o.Cluster: {o.Cluster, o.Path}}[clusters[0]], named) {
			t.Errorf("%q names %q and is answered about %v", path, named, clusters)
		}
	}
	t.Logf("of %d paths %d got through", len(paths), through)
	if through < 20 {
		t.Errorf("only %d of %d paths got through: too few to compare", through, len(paths))
	}
}

// TestNoVirtualWorkspaceBelowACluster: a shard takes the cluster off a path and
// goes on to a virtual workspace, which acts in the cluster that it names itself.
// The proxy, whose identity is for the first one, lets no such path through.
func TestNoVirtualWorkspaceBelowACluster(t *testing.T) {
	t.Parallel()
	o := newOrg(t, shardOne)
	mine, other := o.workspace("mine", harness.TypeRef{}, shardOne), o.workspace("other", harness.TypeRef{}, shardOne)
	admin := env.AdminKeys()
	masters, err := env.ClientCA.Client(t.TempDir(), "nested", "system:masters")
	check(t, err)
	atProxy := &wire{t: t, address: strings.TrimPrefix(env.Proxy.URL, "https://"), keys: &admin}
	atShard := &wire{t: t, address: strings.TrimPrefix(env.Shard(shardOne).URL, "https://"), keys: &masters}
	defer atProxy.close()
	defer atShard.close()
	path := "/clusters/" + mine.Cluster + "/services/apiexport/root/tenancy.kcp.io/clusters/" + other.Cluster + "/apis/tenancy.kcp.io/v1alpha1/workspacetypes"
	eventually(t, "the shard to go on to the virtual workspace", func(context.Context) error {
		if code, _ := atShard.get(path); code != http.StatusOK {
			return fmt.Errorf("answered %d", code)
		}
		return nil
	})
	for _, spelled := range []string{path, strings.Replace(path, "/services/", "/%73ervices/", 1), strings.Replace(path, "/services/", "//x/services/", 1), strings.Replace(path, "services/apiexport", "services%2Fapiexport", 1)} {
		if code, _ := atProxy.get(spelled); code != http.StatusBadRequest {
			t.Errorf("%s through the proxy: %d, want 400", spelled, code)
		}
		code, _ := atShard.get(spelled)
		t.Logf("%s at the shard: %d", spelled, code)
	}
}

// firstCluster is what a plain reader takes a path, or an absolute URL, below
// /clusters/ to name.
func firstCluster(target string) string {
	if _, rest, ok := strings.Cut(target, "://"); ok {
		_, rest, _ = strings.Cut(rest, "/")
		target = "/" + rest
	}
	parts := strings.SplitN(target, "/", 4)
	if len(parts) < 3 {
		return ""
	}
	for i, part := range parts {
		part, _, _ = strings.Cut(part, "?")
		decoded, err := url.PathUnescape(part)
		if err != nil {
			return ""
		}
		parts[i] = decoded
	}
	if parts[1] != "clusters" {
		return ""
	}
	return parts[2]
}

// byName is path with the logical cluster's name in the place of a workspace's
// path, where that is the cluster the path names.
func byName(path string, all ...harness.Workspace) string {
	for _, ws := range all {
		for _, colon := range []string{":", "%3a", "%3A"} {
			spelled := "/clusters/" + strings.ReplaceAll(ws.Path, ":", colon)
			if rest, ok := strings.CutPrefix(path, spelled); ok && (rest == "" || rest[0] == '/' || rest[0] == '?') {
				return "/clusters/" + ws.Cluster + rest
			}
		}
	}
	return path
}

// listedPaths are those that are known to be read in two ways by somebody.
func listedPaths(mine, other harness.Workspace) []string {
	const rest = "/api/v1/namespaces/default/configmaps/marker"
	m, o := mine.Cluster, other.Cluster
	paths := []string{}
	for _, c := range []string{m, mine.Path, strings.ReplaceAll(mine.Path, ":", "%3A"), strings.ReplaceAll(mine.Path, ":", "%3a"), strings.ToUpper(m)} {
		paths = append(paths, "/clusters/"+c+rest, "/clusters/"+c+rest+"?x=/clusters/"+o, "/clusters/"+c, "/clusters/"+c+"/", "/clusters/"+c+"//api", "/clusters/"+c+"/api/")
	}
	for _, between := range []string{
		"/../" + o, "/..%2f" + o, "%2f..%2f" + o, "/%2e%2e/" + o, "/.%2e/" + o, "/..;/" + o, "\\..\\" + o, "%5c..%5c" + o, "/../../clusters/" + o,
		"/services/apiexport/" + m + "/e/clusters/" + o, "//x/clusters/" + o, "//x", "/%63lusters/" + o, "/clusters%2F" + o,
		"/%2e%2e/%2e%2e/clusters/" + o, "//clusters/" + o, "/clusters/" + o, "%2fclusters%2f" + o, "%00/" + o, "?/../" + o, "%3f/../" + o, "%23/" + o, ";/" + o, ":" + o, "," + o,
		"/api/../../" + o, "/api/v1/../../../" + o, "/api/v1/%2e%2e/%2e%2e/%2e%2e/" + o, "/./../" + o, "%252f..%252f" + o, "%c0%af..%c0%af" + o, " /" + o, "%20/" + o, "%09/" + o,
	} {
		paths = append(paths, "/clusters/"+m+between+rest)
	}
	for _, before := range []string{
		"//clusters/", "/./clusters/", "/%2e/clusters/", "/x/../clusters/", "/clusters//", "/clusters/./", "/clusters/../clusters/", "/Clusters/", "/clusters%2f", "/%63lusters/", "clusters/",
		"\\clusters\\", "/clusters\\", "/services/../clusters/", "/services/x/../../clusters/", "/api/../clusters/", "https://shard/clusters/", "//shard/clusters/", "/?/clusters/", "/clusters/%2e%2e/clusters/",
	} {
		paths = append(paths, before+m+rest, before+o+rest)
	}
	return append(paths, "/clusters/*"+rest, "/clusters/%2a"+rest, "/clusters/%2A/api/v1/configmaps", "/clusters/system:admin/api", "/clusters/system%3aadmin/api", "/clusters/"+m+"/api/v1/namespaces/default/configmaps/mark%65r",
		"/clusters/"+m+"/api/v1/namespaces/default%2fconfigmaps/marker", "/clusters/"+m+"/api/v1/namespaces/x/../default/configmaps/marker", "/clusters/"+m+"/api/v1/namespaces/default/configmaps//marker")
}

// madeUp puts pieces of paths together, most of them beginning well.
func madeUp(r *rand.Rand, mine, other harness.Workspace) string {
	pieces := []string{
		mine.Cluster, other.Cluster, mine.Path, other.Path, "clusters", "/clusters/", "/", "/", "//", "..", "/../", "/./", "%2e%2e", "%2f", "%2F", "%5c", "\\", ";", "?", "%3f", "%23", ":", "%3a", "%00", "%", "%zz",
		"*", "%2a", "root", "system:admin", "services", "/services/", "api", "/api/v1", "/namespaces/default", "/configmaps/marker", "/api/v1/namespaces/default/configmaps/marker", "/api/v1/namespaces/default/configmaps",
		"%20", "%09", "é", "%c3%a9", "~", "+", "&", "=", "@", ",", "..;", "%252e%252e", "%252f",
	}
	var b strings.Builder
	switch r.IntN(4) {
	case 0:
		b.WriteString("/")
	case 1:
		b.WriteString("/clusters/" + other.Cluster)
	default:
		b.WriteString("/clusters/" + mine.Cluster)
	}
	for range r.IntN(6) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	if r.IntN(2) == 0 {
		b.WriteString("/api/v1/namespaces/default/configmaps/marker")
	}
	return b.String()
}

// wire sends requests byte for byte over one connection as long as it lasts.
type wire struct {
	t       *testing.T
	address string
	keys    *harness.KeyPair
	header  string
	conn    *tls.Conn
	reader  *bufio.Reader
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

// get returns the answer's code and the logical clusters that the objects in it
// are of, sorted.
func (w *wire) get(path string) (int, []string) {
	w.t.Helper()
	if w.conn == nil {
		config := clientTLS("http/1.1")
		if w.keys != nil {
			pair, err := tls.X509KeyPair(w.keys.Cert, w.keys.Key)
			check(w.t, err)
			config.Certificates = []tls.Certificate{pair}
		}
		conn, err := (&tls.Dialer{Config: config}).DialContext(w.t.Context(), "tcp", w.address)
		check(w.t, err)
		w.conn = conn.(*tls.Conn)
		w.reader = bufio.NewReader(w.conn)
	}
	check(w.t, w.conn.SetDeadline(time.Now().Add(settled)))
	_, err := fmt.Fprintf(w.conn, "GET %s HTTP/1.1\r\nHost: proxy\r\nAccept: application/json\r\n%s\r\n", path, w.header)
	check(w.t, err)
	response, err := http.ReadResponse(w.reader, nil)
	if err != nil {
		w.t.Fatalf("the answer to %q: %v (logs: %s)", path, err, env.Logs())
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	_ = response.Body.Close()
	if err != nil || response.Close {
		w.close()
	}
	var clusters []string
	for _, m := range clusterOfObject.FindAllStringSubmatch(string(body), -1) {
		clusters = append(clusters, m[1])
	}
	slices.Sort(clusters)
	return response.StatusCode, slices.Compact(clusters)
}

var clusterOfObject = regexp.MustCompile(`"kcp\.io/cluster":\s*"([^"]+)"`)
