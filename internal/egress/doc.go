// Package egress decides to which addresses a tenant's URL may lead, an issuer's or a mounted
// workspace's. It checks at dial time, after name resolution. It also limits the cost of a
// response from there. It knows neither issuers nor mounts.
package egress
