package serviceaccount

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"k8s.io/client-go/rest"
)

// shardGetter sends GET requests to shards, by client-go's transport for trusted servers.
// It follows no redirects. Callers limit the time of a request.
type shardGetter struct{ http *http.Client }

func newShardGetter(config *rest.Config) (shardGetter, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return shardGetter{}, fmt.Errorf("client for shards: %w", err)
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return shardGetter{client}, nil
}

// get returns a response's status, as "404 Not Found" and as 404, and its body. most limits the
// body, in bytes.
func (g shardGetter) get(ctx context.Context, location, accept string, most int64) (status string, code int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return "", 0, nil, err
	}
	request.Header.Set("Accept", accept)
	response, err := g.http.Do(request)
	if err != nil {
		return "", 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(response.Body, most+1))
	switch {
	case err != nil:
		return "", 0, nil, fmt.Errorf("read the shard's answer: %w", err)
	case int64(len(body)) > most:
		return "", 0, nil, fmt.Errorf("the shard's answer has more than %d bytes", most)
	}
	return response.Status, response.StatusCode, body, nil
}

// unexpected is the error for a response with the status to a get of what.
func unexpected(status, what string) error {
	return fmt.Errorf("the shard answered %s to a get of %s (does the user of --service-account-lookup-kubeconfig, or else of --shards-kubeconfig, have that right?)", status, what)
}
