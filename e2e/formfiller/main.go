// Formfiller opens a page, fills what forms it leads to as a person with a user name
// and a password does, and ends on the last page, whose title it prints. It stands
// for a browser and whoever sits at it in tests and in the demo.
//
// The page is its argument; FORMFILLER_USER, FORMFILLER_PASSWORD and FORMFILLER_CA (a
// file of CAs) are variables.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/html"
)

const maxForms = 8

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "formfiller:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("give one page")
	}
	ca, err := os.ReadFile(os.Getenv("FORMFILLER_CA")) //nolint:gosec // whoever runs it says so
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	client := &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil) //nolint:gosec // whoever runs it names the page
	if err != nil {
		return err
	}
	for range maxForms {
		page, err := open(client, request)
		if err != nil {
			return err
		}
		if page.form == nil {
			_, err := fmt.Fprintln(out, page.title)
			return err
		}
		if request, err = page.form.fill(ctx, page.url); err != nil {
			return err
		}
	}
	return fmt.Errorf("more than %d forms", maxForms)
}

// page is what a browser shows.
type page struct {
	url   *url.URL
	title string
	form  *form // nil: none to fill
}

// form is a page's first one.
type form struct {
	action, method string
	values         url.Values
}

func open(client *http.Client, request *http.Request) (*page, error) {
	res, err := client.Do(request) //nolint:gosec // whoever runs it names the page
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("%s: %s", res.Request.URL.Redacted(), res.Status)
	}
	root, err := html.Parse(res.Body)
	if err != nil {
		return nil, err
	}
	p := &page{url: res.Request.URL}
	p.read(root)
	return p, nil
}

func (p *page) read(n *html.Node) {
	switch {
	case n.Type == html.ElementNode && n.Data == "title" && n.FirstChild != nil && p.title == "":
		p.title = strings.TrimSpace(n.FirstChild.Data)
	case n.Type == html.ElementNode && n.Data == "form" && p.form == nil:
		p.form = &form{action: attribute(n, "action"), method: strings.ToUpper(attribute(n, "method")), values: url.Values{}}
		p.form.read(n)
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		p.read(c)
	}
}

func (f *form) read(n *html.Node) {
	if name := attribute(n, "name"); n.Type == html.ElementNode && n.Data == "input" && name != "" {
		value := attribute(n, "value")
		switch kind := attribute(n, "type"); {
		case kind == "password":
			value = os.Getenv("FORMFILLER_PASSWORD")
		case value == "" && (kind == "text" || kind == "email" || kind == ""):
			value = os.Getenv("FORMFILLER_USER")
		}
		f.values.Set(name, value)
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		f.read(c)
	}
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func (f *form) fill(ctx context.Context, at *url.URL) (*http.Request, error) {
	to, err := at.Parse(f.action)
	if err != nil {
		return nil, err
	}
	if f.method != http.MethodPost {
		to.RawQuery = f.values.Encode()
		return http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(f.values.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return request, nil
}
