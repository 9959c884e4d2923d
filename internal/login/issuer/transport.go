package issuer

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// maxAnswer limits the size of a response, in bytes.
const maxAnswer = 1 << 20

// guarded is the transport to an issuer: https only, limited responses, and it reads
// the issuer's clock.
type guarded struct {
	next  http.RoundTripper
	clock *clock
}

func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errors.New("the issuer redirects to a URL that is not https: " + r.URL.Redacted())
	}
	res, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if r.Method == http.MethodPost { // a GET may be answered from a cache, with an old date
		g.clock.read(res.Header.Get("Date"))
	}
	res.Body = &answer{http.MaxBytesReader(nil, res.Body, maxAnswer)}
	return res, nil
}

// answer is the body of an issuer's answer.
type answer struct{ io.ReadCloser }

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if longer := new(http.MaxBytesError); errors.As(err, &longer) { // whose text is about requests
		err = fmt.Errorf("the issuer's answer is longer than %d bytes", longer.Limit)
	}
	return n, err
}

// clock is the issuer's clock: how far it is ahead of this machine's, a time.Duration.
type clock struct{ ahead atomic.Int64 }

// read reads a Date header and ignores an invalid one.
func (c *clock) read(date string) {
	if at, err := http.ParseTime(date); err == nil {
		c.ahead.Store(int64(time.Until(at)))
	}
}

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// local converts a time of the issuer to this machine's clock.
func (c *clock) local(t time.Time) time.Time { return t.Add(-time.Duration(c.ahead.Load())) }
