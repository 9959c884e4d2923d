// Package egress decides which addresses a tenant's URL may lead to: an
// issuer's, or a mounted workspace's. It judges at dial time, after name
// resolution. It knows neither issuers nor mounts.
package egress
