package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"frontproxy/index"
)

// field is a header field, pseudo or not, as it goes on the wire.
type field struct{ name, value string }

// frames sends one request made of these fields on a connection of its own,
// with a body and trailers when they are not nil, and returns the answer's code
// ("" when the stream or the connection was ended instead).
func (f *front) frames(t *testing.T, fields []field, body []byte, trailers []field) string {
	t.Helper()
	conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.AllowIllegalWrites = true
	write := func(err error) {
		t.Helper()
		if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "broken pipe") {
			t.Fatal(err)
		}
	}
	write(framer.WriteSettings())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	headers := func(fields []field, end bool) {
		block.Reset()
		for _, f := range fields {
			if err := encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value}); err != nil {
				t.Fatal(err)
			}
		}
		write(framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: end, EndHeaders: true}))
	}
	headers(fields, body == nil && trailers == nil)
	if body != nil {
		write(framer.WriteData(1, trailers == nil, body))
	}
	if trailers != nil {
		headers(trailers, true)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return ""
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return ""
		}
	}
}

// TestRefusesAmbiguousHTTP2Requests writes HTTP/2 requests that no client library sends. What
// two readers could take for different requests never reaches a shard; what
// does reach it says who the caller is and nothing else.
func TestRefusesAmbiguousHTTP2Requests(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	f := w.front(t)
	const path = "/clusters/root:ws/api"
	request := func(more ...field) []field {
		return append([]field{{":method", "GET"}, {":scheme", "https"}, {":authority", "kcp.example"}, {":path", path}}, more...)
	}
	without := func(name string, more ...field) []field {
		var kept []field
		for _, f := range request() {
			if f.name != name {
				kept = append(kept, f)
			}
		}
		return append(kept, more...)
	}
	user := field{"x-remote-user", "admin"}
	for name, tt := range map[string]struct {
		fields   []field
		body     []byte
		trailers []field
		reaches  bool
		host     string // at the shard; "" means kcp.example
	}{
		"plain":                          {fields: request(), reaches: true},
		"identity headers":               {fields: request(user, field{"x_remote_user", "admin"}, field{"x-remote-group", "system:masters"}), reaches: true},
		"two paths":                      {fields: request(field{":path", "/clusters/root:other/api"})},
		"the same path twice":            {fields: request(field{":path", path})},
		"two authorities":                {fields: request(field{":authority", "other.example"})},
		"two methods":                    {fields: request(field{":method", "POST"})},
		"two schemes":                    {fields: request(field{":scheme", "http"})},
		"no path":                        {fields: without(":path")},
		"empty path":                     {fields: without(":path", field{":path", ""})},
		"no method":                      {fields: without(":method")},
		"no scheme":                      {fields: without(":scheme")},
		"path after a header":            {fields: without(":path", user, field{":path", path})},
		"unknown pseudo-header":          {fields: request(field{":user", "admin"})},
		"an answer's pseudo-header":      {fields: request(field{":status", "200"})},
		"path without a slash":           {fields: without(":path", field{":path", "clusters/root:ws/api"})},
		"path with another authority":    {fields: without(":path", field{":path", "//other.example/clusters/root:ws/api"})},
		"path is the asterisk":           {fields: without(":path", field{":path", "*"})},
		"path with a fragment":           {fields: without(":path", field{":path", path + "#/.."})},
		"path with a space":              {fields: without(":path", field{":path", path + " HTTP/1.1"})},
		"path with a line":               {fields: without(":path", field{":path", path + " HTTP/1.1\r\nx-remote-user: admin\r\n\r\n"})},
		"path with a NUL":                {fields: without(":path", field{":path", path + "\x00"})},
		"path with dots":                 {fields: without(":path", field{":path", "/clusters/root:other/../root:ws"})},
		"path with an encoded slash":     {fields: without(":path", field{":path", "/clusters%2froot:ws"})},
		"method with a space":            {fields: without(":method", field{":method", "GET /clusters/root:other"})},
		"CONNECT":                        {fields: []field{{":method", "CONNECT"}, {":authority", "shard:6443"}}},
		"CONNECT with a path":            {fields: without(":method", field{":method", "CONNECT"})},
		"extended CONNECT":               {fields: append([]field{{":method", "CONNECT"}, {":protocol", "websocket"}}, request()[1:]...)},
		"extended CONNECT as GET":        {fields: append([]field{{":protocol", "websocket"}}, request()...)},
		"upper case name":                {fields: request(field{"X-Remote-User", "admin"})},
		"name with a line":               {fields: request(field{"x-a: b\r\nx-remote-user", "admin"})},
		"value with a line":              {fields: request(field{"x-a", "b\r\nx-remote-user: admin"})},
		"value with a NUL":               {fields: request(field{"x-a", "b\x00c"})},
		"connection":                     {fields: request(field{"connection", "x-remote-user"})},
		"keep-alive":                     {fields: request(field{"keep-alive", "timeout=5"})},
		"proxy-connection":               {fields: request(field{"proxy-connection", "x-remote-user"})},
		"transfer-encoding":              {fields: request(field{"transfer-encoding", "chunked"}), body: []byte("0\r\n\r\n")},
		"upgrade":                        {fields: request(field{"upgrade", "websocket"})},
		"upgrade to h2c":                 {fields: request(field{"upgrade", "h2c"}, field{"http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"})},
		"TE beyond trailers":             {fields: request(field{"te", "gzip"})},
		"length beyond the body":         {fields: request(field{"content-length", "5"}), body: []byte("x")},
		"length below the body":          {fields: request(field{"content-length", "1"}), body: []byte("xxxxx")},
		"two lengths":                    {fields: request(field{"content-length", "1"}, field{"content-length", "2"}), body: []byte("x")},
		"host beside authority":          {fields: request(field{"host", "other.example"}), reaches: true},
		"host instead of authority":      {fields: without(":authority", field{"host", "other.example"}), reaches: true, host: "other.example"},
		"identity in trailers":           {fields: request(), body: []byte("x"), trailers: []field{user, {"x-remote-group", "system:masters"}}, reaches: true},
		"identity in announced trailers": {fields: request(field{"trailer", "x-remote-user, x-remote-group"}), body: []byte("x"), trailers: []field{user, {"x-remote-group", "system:masters"}}, reaches: true},
		"path in trailers":               {fields: request(), body: []byte("x"), trailers: []field{{":path", "/clusters/root:other"}}},
	} {
		t.Run(name, func(t *testing.T) {
			// A request that was cut off may reach the shard late, in a later case.
			code := f.frames(t, append(slices.Clone(tt.fields), field{"x-case", name}), tt.body, tt.trailers)
			got := slices.DeleteFunc(s.take(), func(v seen) bool { return v.Header.Get("X-Case") != name })
			if !tt.reaches {
				// A body or trailers may turn out bad when the request is under way; then it
				// may have begun at the shard, as the request that was judged, but not ended well.
				if strings.HasPrefix(code, "2") && len(got) > 0 || tt.body == nil && len(got) > 0 {
					t.Errorf("answered %q, and the shard got %+v", code, got)
				}
				return
			}
			if code != "200" || len(got) != 1 {
				t.Fatalf("answered %q, and the shard got %+v", code, got)
			}
			checkIdentity(t, got[0], false)
			want := tt.host
			if want == "" {
				want = "kcp.example"
			}
			if got[0].Host != want || got[0].URI != "/clusters/2kd9/api" || strings.Contains(strings.Join(got[0].Header["Host"], ""), "other") {
				t.Errorf("the shard got %s at %q with headers %v", got[0].URI, got[0].Host, got[0].Header)
			}
		})
	}
}

// TestLastFlushIsBounded: net/http sends a small answer when the handler has returned. If the client
// grants no window, its stream is reset.
func TestLastFlushIsBounded(t *testing.T) {
	w := newWorld(t)
	w.config.ProgressTimeout = 200 * time.Millisecond
	shard := w.shard(t, "shard-1", true, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "small") })
	w.index["root:here"] = index.Target{Cluster: "here", Shard: shard.Shard}
	f := w.front(t)
	_, framer := f.http2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	writeHeaders(t, framer, 1, true, asks("GET", "/clusters/root:here/api"))
	await(t, framer, "the answer's header", func(frame http2.Frame) bool {
		header, ok := frame.(*http2.MetaHeadersFrame)
		return ok && header.PseudoValue("status") == "200"
	})
	f.idle(t)
	await(t, framer, "a reset", func(frame http2.Frame) bool {
		data, ok := frame.(*http2.DataFrame)
		if ok && len(data.Data()) > 0 {
			t.Errorf("the client got %q without a window", data.Data())
		}
		_, ok = frame.(*http2.RSTStreamFrame)
		return ok
	})
}
