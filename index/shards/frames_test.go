package shards

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// framesOf reads all there are, and the error that ended it.
func framesOf(r io.Reader) (all []string, err error) {
	f := frames{r: r}
	for {
		b, err := f.next()
		if err != nil {
			return all, err
		}
		all = append(all, string(b))
	}
}

func TestFrames(t *testing.T) {
	long := `{"a":"` + strings.Repeat("x", 3*firstFrame) + `"}`
	for _, tt := range []struct {
		name, in string
		want     []string
		err      error
	}{
		{"lines", "{\"a\":1}\n{\"b\":[{}]}\n", []string{`{"a":1}`, `{"b":[{}]}`}, io.EOF},
		{"nothing between", `{}{}`, []string{`{}`, `{}`}, io.EOF},
		{"braces and escapes in strings", `{"a":"}\"}\\"} {"b":"]"}`, []string{`{"a":"}\"}\\"}`, `{"b":"]"}`}, io.EOF},
		{"spread over lines", "\r\n{\n\t\"a\": 1\n}\n", []string{"{\n\t\"a\": 1\n}"}, io.EOF},
		{"long ones", long + "\n{}\n" + long, []string{long, `{}`, long}, io.EOF},
		{"many", strings.Repeat(long[:firstFrame-100]+`"}`, 3), []string{long[:firstFrame-100] + `"}`, long[:firstFrame-100] + `"}`, long[:firstFrame-100] + `"}`}, io.EOF},
		{"cut within one", `{"a":1}{"b`, []string{`{"a":1}`}, io.ErrUnexpectedEOF},
		{"something else", `{"a":1} "b"`, []string{`{"a":1}`}, errNoObject},
		{"empty", "", nil, io.EOF},
	} {
		for how, r := range map[string]io.Reader{
			"at once": strings.NewReader(tt.in), "byte by byte": iotest.OneByteReader(strings.NewReader(tt.in)), "with its end": iotest.DataErrReader(strings.NewReader(tt.in)),
		} {
			t.Run(tt.name+", "+how, func(t *testing.T) {
				got, err := framesOf(r)
				if !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

// FuzzFrames: a stream of objects is cut where encoding/json cuts it.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{"{\"a\":\"\\\\\\\"}\"}\n{}", `{"a":[{"b":{}}]} {`, `{]`, ` x`, `{"a":"{`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, _ := framesOf(iotest.HalfReader(bytes.NewReader(in)))
		d := json.NewDecoder(bytes.NewReader(in))
		for i := 0; ; i++ {
			var want json.RawMessage
			if d.Decode(&want) != nil || want[0] != '{' {
				return // what is no JSON may be cut anyhow
			}
			if i >= len(got) || got[i] != string(want) {
				t.Fatalf("%q: object %d of %q, want %q", in, i, got, want)
			}
		}
	})
}
