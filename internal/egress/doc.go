// Package egress decides which addresses a tenant's URL may lead to: an
// issuer's, or a mounted workspace's. It judges at dial time, after name
// resolution. It also bounds what an answer from there may cost. It knows neither
// issuers nor mounts.
package egress
