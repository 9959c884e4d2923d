package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// many serves n workspaces below root, and their logical clusters, about as long
// as kcp's are, as streamed lists that are made while they are sent. Nothing
// changes after.
func many(n int) func(string) (http.Handler, bool) {
	padding := `,"managedFields":[` + strings.Repeat(`{"manager":"kcp","operation":"Update","fieldsV1":{"f:status":{"f:conditions":{".":{},"k:{\"type\":\"Ready\"}":{}}}}},`, 12) + `{}]`
	objects := map[string]func(io.Writer, int){
		"logicalclusters": func(w io.Writer, i int) {
			_, _ = fmt.Fprintf(w, `{"metadata":{"name":"cluster","resourceVersion":"1","annotations":{"kcp.io/cluster":"c%015d","kcp.io/path":"root:ws-%d","internal.tenancy.kcp.io/type":"root:organization"}%s},"spec":{"owner":{"resource":"workspaces","cluster":"root","name":"ws-%d"}},"status":{"phase":"Ready"}}`, i, i, padding, i)
		},
		"workspaces": func(w io.Writer, i int) {
			_, _ = fmt.Fprintf(w, `{"metadata":{"name":"ws-%d","resourceVersion":"1","annotations":{"kcp.io/cluster":"root"}%s},"spec":{"cluster":"c%015d","type":{"name":"organization","path":"root"}},"status":{"phase":"Ready"}}`, i, padding, i)
		},
	}
	return func(resource string) (http.Handler, bool) {
		object, ok := objects[resource]
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			out := bufio.NewWriterSize(w, 64<<10)
			if resource == "logicalclusters" {
				_, _ = io.WriteString(out, `{"type":"ADDED","object":{"metadata":{"name":"cluster","annotations":{"kcp.io/cluster":"root"}}}}`+"\n")
			}
			for i := range n {
				_, _ = io.WriteString(out, `{"type":"ADDED","object":`)
				object(out, i)
				_, _ = io.WriteString(out, "}\n")
			}
			_, _ = io.WriteString(out, `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"2","annotations":{"k8s.io/initial-events-end":"true"}}}}`+"\n")
			_ = out.Flush()
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}), ok
	}
}

// BenchmarkStart is the whole program from its start to readiness, and its peak
// of resident memory by then, in a process of its own.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var peak int64
			for b.Loop() {
				k := newKCP(b)
				k.Root.SetMany(many(n))
				args, _ := arguments(b, k)
				args = append(args, "-v=0", "--token-auth-file="+file(b, "tokens.csv", []byte("token-of-frank,frank,,abc\n")))
				p := newPod(b).run(k, args)
				peak = max(peak, p.peak())
				if code, me := p.ask(p.client(), fmt.Sprintf("/clusters/root:ws-%d/api", n-1), "token-of-frank"); code != http.StatusOK || me.Shard != "root" {
					b.Errorf("the last workspace is answered %d by %q", code, me.Shard)
				}
			}
			b.ReportMetric(float64(peak)/1e3*1.024, "MB-peak")
		})
	}
}
