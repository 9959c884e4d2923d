package main

import (
	"errors"
	"fmt"
	"net/url"

	"frontproxy/proxy/routing"
)

// mountHosts reads --mount-hosts-file; it returns nil if the flag is not set.
func (p *program) mountHosts(o *options) (*routing.MountHosts, error) {
	if o.routing.mountHostsFile == "" {
		return nil, nil
	}
	hosts, err := routing.NewMountHosts(o.routing.mountHostsFile, nil, p.log.WithName("mount-hosts"))
	if err != nil {
		return nil, err
	}
	p.follows("mount-hosts-file", hosts)
	return hosts, nil
}

// externalURLs parses --external-url. The error reports everything that is wrong.
func externalURLs(texts []string) ([]*url.URL, error) {
	var all []*url.URL
	var errs []error
	for _, text := range texts {
		u, err := url.Parse(text)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("--external-url: %w", err))
		case u.Scheme != "https" || u.Host == "":
			errs = append(errs, fmt.Errorf("--external-url=%q must be https and have a host, as in https://kcp.example:6443", text))
		case u.User != nil || u.RawQuery != "" || u.Fragment != "":
			errs = append(errs, fmt.Errorf("--external-url for host %q cannot have a user, query or fragment; remove it", u.Host))
		default:
			all = append(all, u)
		}
	}
	return all, errors.Join(errs...)
}
