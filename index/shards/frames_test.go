package shards

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// framesOf reads all there are, and the error that ended it.
func framesOf(r io.Reader) (all []string, err error) {
	f := newFrames(r)
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
		{"braces and escapes in strings", `{"a":"}\"}\\n"}` + "\n" + `{"b":"]"}` + "\n", []string{`{"a":"}\"}\\n"}`, `{"b":"]"}`}, io.EOF},
		{"blank lines", "\r\n{\"a\": 1}\r\n \n{}\n\n", []string{`{"a": 1}`, `{}`}, io.EOF},
		{"more blank lines than bufio takes", strings.Repeat("\n", 500) + "{}\n", []string{`{}`}, io.EOF},
		{"long ones", long + "\n{}\n" + long + "\n", []string{long, `{}`, long}, io.EOF},
		{"many", strings.Repeat(long[:firstFrame-100]+"\"}\n", 3), []string{long[:firstFrame-100] + `"}`, long[:firstFrame-100] + `"}`, long[:firstFrame-100] + `"}`}, io.EOF},
		{"cut within one", "{\"a\":1}\n{\"b", []string{`{"a":1}`}, io.EOF},
		{"cut before the end of its line", "{\"a\":1}\n{}", []string{`{"a":1}`}, io.EOF},
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

func TestFramesAreBounded(t *testing.T) {
	if _, err := newFrames(io.LimitReader(unterminated{}, maxFrame+firstFrame)).next(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("error %v", err)
	}
}

// unterminated is a line without an end.
type unterminated struct{}

func (unterminated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '{'
	}
	return len(p), nil
}

// FuzzFrames: what an API server sends is cut where encoding/json cuts it.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{"{\"a\":\"\\\\\\\"}\"}\n{}", `{"a":[{"b":{}}]} {"b":"\n"}`, `{]`, ` x`, `{"a":"{`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var want []string
		var sent bytes.Buffer
		for d, encoder := json.NewDecoder(bytes.NewReader(in)), json.NewEncoder(&sent); ; {
			var object json.RawMessage
			if d.Decode(&object) != nil {
				break
			}
			before := sent.Len()
			if err := encoder.Encode(object); err != nil {
				t.Fatal(err)
			}
			want = append(want, strings.TrimSpace(sent.String()[before:]))
		}
		if got, _ := framesOf(iotest.HalfReader(&sent)); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
