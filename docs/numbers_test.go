package docs

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// numbers are those that pages say and the code has: in a package, the constants (or fields of a
// variable) with their values, and the sentences that say them, by page. A row without a package is
// about numbers that one of the files itself has.
var numbers = []struct {
	pkg  string
	have map[string]any
	said map[string][]string
}{
	{"index", map[string]any{"Grace": 5 * time.Minute}, map[string][]string{
		"docs/operations.md":                   {"for at most five minutes after the proxy first saw the shard; then they get 403"},
		"docs/regions.md":                      {"get 503 for five minutes, then 403"},
		"docs/runbooks.md":                     {"Five minutes after the instance first saw the shard"},
		"docs/troubleshooting.md":              {"has not been read for more than five minutes", "five minutes after the proxy first saw that shard"},
		"docs/metrics.md":                      {"get 503, after five minutes 403"},
		"docs/reliability.md":                  {"(for five minutes; then 403)"},
		"deploy/dashboards/front-proxy.json":   {"get 503, after five minutes 403"},
		"deploy/alerts/front-proxy.rules.yaml": {"get 503, then 403"},
	}},

	// Rates.
	{"proxy/ratelimit", map[string]any{
		"DefaultWorkspace.PerSecond": 1000, "DefaultWorkspace.Burst": 10_000, "DefaultIdentity.PerSecond": 400, "DefaultIdentity.Burst": 4000, "DefaultAddressBurst": 4000,
	}, map[string][]string{
		"docs/operations.md":                    {"| 1,000 a second, burst 10,000 |", "| 400 a second, burst 4,000 |"},
		"docs/compatibility.md":                 {"At most 1,000 requests a second on average, after a burst of 10,000, of one logical cluster, and 400 after 4,000 of one user"},
		"docs/threat-model.md":                  {"| 1,000 and 400 at each instance by default, after bursts of 10,000 and 4,000;"},
		"docs/scale.md":                         {"50 times its rate, if its clients spread over all instances: 50,000 requests a second by default, 20,000 for one identity"},
		"deploy/charts/front-proxy/values.yaml": {"by default {perSecond: 1000, burst: 10000}", "by default {perSecond: 400, burst: 4000}", "by default {perSecond: 0, burst: 4000}"},
	}},
	{"proxy/ratelimit", map[string]any{"maxWorkspaces": 16_384, "maxIdentities": 65_536, "maxAddresses": 65_536, "maxKeys": 4096}, map[string][]string{
		"docs/operations.md":   {"take 30 MB at most, whatever clients do: 16,384 of workspaces, 65,536 of identities and as many of addresses"},
		"docs/scale.md":        {"at most 30 MB for all of them", "| 30 MB at most |", "the buckets of 16,384 workspaces and 65,536 identities are kept"},
		"docs/threat-model.md": {"takes 16,384 other workspaces (for a user's, 65,536 other users)", "| 30 MB: 16,384 workspaces, 65,536 users and 65,536 addresses", "explanations and questions about configurations: 4,096 workspaces"},
	}},
	{"cmd/front-proxy", map[string]any{"ratePause": 250 * time.Millisecond}, map[string][]string{
		"docs/operations.md":   {"A 429 is held back for a quarter of a second"},
		"docs/threat-model.md": {"Each 429 is held back for a quarter of a second"},
	}},
	{"proxy", map[string]any{"maxPausedBytes": 8 * mib}, map[string][]string{
		"docs/operations.md":   {"The requests that wait for it take 8 MiB of memory at most"},
		"docs/threat-model.md": {"| 8 MiB for all, some 500 small requests;"},
	}},
	{"proxy", map[string]any{"reviewRate.PerSecond": 20, "reviewRate.Burst": 100}, map[string][]string{
		"docs/token-reviews.md": {"| 20 a second, 100 at once."},
		"docs/scale.md":         {"20 a second for a workspace"},
		"docs/threat-model.md":  {"| 20 a second, 100 at once, of callers"},
	}},
	{"proxy/zpages", map[string]any{"OperatorBurst": 30, "operatorRate": 10, "WorkspaceBurst": 10, "workspaceRate": 1, "maxListed": 1000}, map[string][]string{
		"docs/explain.md": {"ten explanations a second, in bursts of 30; each workspace one a second, in bursts of ten", "at most 1,000 issuers and 1,000 configurations"},
	}},

	// Requests and their memory.
	{"", nil, map[string][]string{
		"docs/flags.md":         {"| `--max-requests-inflight` | int, `4000` |"}, // which is generated
		"docs/operations.md":    {"`--max-requests-inflight` (4,000)"},
		"docs/compatibility.md": {"At most 4,000 concurrent short requests"},
		"docs/reliability.md":   {"`--max-requests-inflight=40`; 4,000 by default"},
		"docs/threat-model.md":  {"128 KiB × `--max-requests-inflight` for all (500 MiB for the default 4,000)"},
	}},
	{"proxy", map[string]any{"budgetPerRequest": 128 * kib, "budgetPerStreamStart": 256 * kib, "requestBytes": 16 * kib, "addressDivisor": 15, "userDivisor": 3, "hostDivisor": 1, "streamDivisor": 1, "requestsDivisor": 4, "streamStartsDivisor": 8, "openStreamsDivisor": 2, "streamBytes": 32 * kib}, map[string][]string{
		"docs/operations.md":      {"128 KiB × that number, or a quarter", "256 KiB × that number, or an eighth of the limit", "Open streams share half of the limit; each is charged 32 KiB", "all users of a workspace together take at most half of a budget", "One address takes at most a third of a budget at all workspaces together, and all addresses together at most half"},
		"docs/flags.md":           {"128 KiB times this number, or a quarter of the runtime's memory limit if that is less; requests that start a stream, 256 KiB times it or an eighth; open streams, half of the limit"},
		"docs/troubleshooting.md": {"`--max-requests-inflight` × 128 KiB or a quarter of the runtime's memory limit", "`--max-requests-inflight` × 256 KiB or an eighth", "one user may have a third of it, all users of one workspace half"},
		"docs/install.md":         {"requests may take a quarter, requests that start a stream an eighth, open streams half", "At 1 GiB there is room for 14,000 watches: at most 7,000 in one workspace, and 4,700 of one user there"},
		"docs/threat-model.md":    {"| 128 KiB × `--max-requests-inflight`", "| 16 KiB, its line", "or a quarter of the runtime's memory limit if that is less: 230 MiB", "256 KiB × that number, or an eighth of the limit", "Alone, a stranger may have an 18th of everything in one workspace, a user a fifth, a mount and an address at a backend that authenticates a third;", "A user alone may have a third,", "may have as much as they leave free: half,", "All strangers together may also have half, and those at one address, at whatever workspaces, a third", "So one workspace leaves half to others, or a quarter if it uses mounts; ten leave an eleventh, or a 31st", "half of the runtime's memory limit, if there is one. Each is charged 32 KiB"},
	}},
	{"proxy", map[string]any{
		"headsDivisor": 16, "minHeadBudget": 16 * mib, "maxHeadBudget": 256 * mib, "headDivisor": 1, "freeHead": 8 * kib, "http1HeadCost": 5,
		"http2HeadCost": 3, "http2Fields": 32 * kib, "fieldCost": 64, "smallHead": 64 * kib, "smallHeadGrace": time.Second,
		"requestsDivisor": 4, "streamStartsDivisor": 8, "openStreamsDivisor": 2,
	}, map[string][]string{
		"docs/install.md": {"and unfinished request headers a sixteenth"},
		"docs/scale.md":   {"they take fifteen sixteenths of nine tenths"},
		"docs/runbooks.md": {
			"One address has a third of this memory at most", "a sixteenth of the runtime's memory limit, 16 MiB at least and 256 MiB at most",
		},
		"docs/threat-model.md": {
			"a sixteenth of the runtime's memory limit, at least 16 MiB and at most 256 MiB", "each byte beyond 8 KiB counts five times", "three times its size, and 64 times more for the first 32 KiB",
			"An address alone has a third of this budget", "one with at most 64 KiB only if its headers are not complete within one second",
		},
	}},
	{"proxy", map[string]any{"defaultProgressTimeout": time.Minute, "progressBytes": 4 * kib, "maxBufferedBody": 64 * kib, "maxStreamRequest": 128 * kib}, map[string][]string{
		"docs/compatibility.md":   {"one minute for each 4 KiB of its body, for all of a body up to 64 KiB"},
		"docs/threat-model.md":    {"| one minute for each 4 KiB of its body, for all of a body up to 64 KiB", "an upgraded connection keeps of its request | 128 KiB |"},
		"docs/reliability.md":     {"a client that stalls for a minute, with 4 KiB of a body"},
		"docs/troubleshooting.md": {"a body of up to 64 KiB took longer than a minute", "above 64 KiB"},
		"docs/token-reviews.md":   {"| the body | 64 KiB | 413 |"},
		"docs/explain.md":         {"The request may be at most 64 KiB"},
	}},
	{"proxy", map[string]any{"maxHeaderBytes": mib + 64*kib, "readHeaderTimeout": 32 * time.Second, "defaultStreams": 100, "maxDrainWindow": 10 * time.Second}, map[string][]string{
		"docs/reliability.md": {"Headers are limited to a little more than 1 MiB and must arrive within 32 s", "may have 100 streams", "at most 10 s."},
		"docs/operations.md":  {"`--shutdown-timeout` (10 s at most)"},
		"docs/flags.md":       {"Watches are ended within half of it, 10s at most."},
	}},
	{"authn/issuer", map[string]any{"freeBundle": 64 * kib, "bundleCost": 6}, map[string][]string{
		"docs/threat-model.md": {"| 64 KiB and six times its text, by the parts of its certificates |"},
	}},
	{"internal/certs", map[string]any{"certificateCost": 2 * kib, "uriCost": 192, "partCost": 64}, map[string][]string{
		"docs/threat-model.md": {"2 KiB for a certificate, 192 bytes for a URI and 64 for a name, usage, policy, extension or timestamp;"},
	}},
	{"proxy", map[string]any{"addressShare": 8, "clientFrame": 32 * kib, "handshakeCost": 12, "freeHandshake": 12 * kib, "freeCertificates": 32 * kib, "maxRecords": 64 * kib, "keptHeadCost": 2, "freeKeptHead": 16 * kib, "maxHello": 16 * kib, "ownAnswerTimeout": 5 * time.Second, "maxTrailers": 4 * kib, "maxHTTP2Trailers": 512, "controlFrameCost": 100, "freeControlFrames": 500, "maxControlFrames": 10000}, map[string][]string{
		"docs/flags.md":         {"One client address may have eight times as many as are free."},
		"docs/compatibility.md": {"One address may have at most eight times as many connections as are free."},
		"docs/reliability.md":   {"One address may have at most eight times as many connections as are free"},
		"docs/threat-model.md":  {"One address may take eight ninths of `--max-connections` and the next eight ninths of the rest, so five or so take all.", "One address may have at most eight times as many connections as are free.", "a buffer for an HTTP/2 frame, at most 32 KiB", "twelve times what it has sent in its TLS handshake beyond 12 KiB, its certificates above all; what the parts of these certificates take beyond 32 KiB, 2 KiB for a certificate, 192 bytes for a URI and 64 for a name, usage, policy, extension or timestamp; twice its largest HTTP/2 header block of several frames beyond 16 KiB; and 100 bytes for each HTTP/2 frame beyond 500 whose answer it may have left unread at a time: net/http queues up to 10,000 answers to pings and wrong frames, and keeps the queue when they have been read. What net/http queues for uploads whose client does not read is not counted. A TLS handshake that begins with more than 16 KiB fails;", "more than 64 KiB of TLS without any HTTP", "the stream is reset after five seconds", "for five seconds at a health check or a CORS preflight", "| 512 bytes over HTTP/2, 4 KiB over HTTP/1.1, and 4 KiB for their names in `Trailer`"},
		"docs/runbooks.md":      {"more than eight times as many as are free", "but five or so addresses can take them all"},
	}},

	// Streams.
	{"proxy", map[string]any{"defaultRecheckPeriod": 15 * time.Second, "recheckTimeout": 3 * time.Second, "rechecksAtOnce": 256, "recheckSourcePart": 2, "recheckFlowPart": 4}, map[string][]string{
		"docs/service-accounts.md": {"again every 15 s with the original request"},
		"docs/architecture.md":     {"Every 15 s `authn.Recheck`"},
		"docs/compatibility.md":    {"about its token every 15 s"},
		"docs/threat-model.md":     {"| 256 at a time, 3 s each.", "half as many slots as are free beside its own, so 85.", "may have a quarter, so 51."},
	}},
	{"proxy", map[string]any{"movePace": 10 * time.Millisecond, "moveSpread": 5 * time.Second, "listedVersionTimeout": 5 * time.Second, "watchTimeout": 30 * time.Minute}, map[string][]string{
		"docs/operations.md": {"one in 10 ms on average, all within 5 s", "does not answer within 5 s, or not with a list", "after 30 minutes if it has none"},
	}},
	{"proxy/otherstores", map[string]any{"maxBytes": 8 * mib}, map[string][]string{
		"docs/operations.md": {"at most 8 MiB about resources in other stores"},
	}},

	// Shards.
	{"proxy/upstream", map[string]any{"pingAfter": 15 * time.Second, "pingTimeout": 10 * time.Second, "dialTimeout": 5 * time.Second, "maxExternalConns": 256}, map[string][]string{
		"docs/compatibility.md":    {"sends nothing for 25 s, or to which no connection succeeds within 5 s"},
		"docs/service-accounts.md": {"it has not kept silent for 25 s, and connections to it succeed within 5 s"},
		"docs/reliability.md":      {"nothing has come back for 15 s", "If it does not within 10 s", "cannot be made within 5 s"},
		"docs/mounts.md":           {"at most 256 connections for requests and 256 for upgraded connections"},
	}},
	{"proxy/healthz", map[string]any{"patience": 30 * time.Second}, map[string][]string{
		"docs/operations.md":      {"If a shard does not respond for 30 s, the instance becomes ready"},
		"docs/regions.md":         {"waits 30 s for it, and is then ready without it"},
		"docs/compatibility.md":   {"has been read or has failed for 30 s"},
		"docs/troubleshooting.md": {"once it has failed for 30 s it no longer delays readiness"},
	}},
	{"proxy/apistatus", map[string]any{"longOutage": 30 * time.Second}, map[string][]string{
		"docs/compatibility.md":   {"that has failed for more than 30 s"},
		"docs/troubleshooting.md": {"Only in the first 30 s are clients asked to try again"},
	}},
	{"proxy/accessreview", map[string]any{
		"allowedFor": 5 * time.Minute, "deniedFor": 30 * time.Second, "reviewsPerSecond": 20, "reviewsAtOnce": 40,
		"reviewsInLine": 64, "reviewsRunning": 16, "reviewWaiters": 128, "reviewCacheBytes": 2 * mib,
	}, map[string][]string{
		"docs/metrics.md":      {"caches a yes for five minutes, a no for thirty seconds", "20 reviews a second on average, and 40 at once"},
		"docs/regions.md":      {"a yes is kept for five minutes"},
		"docs/runbooks.md":     {"loses its access as well, within five minutes"},
		"docs/threat-model.md": {"half of the 64 queued, of the 16 in progress and of the 128 requests that wait", "| 2 MiB; about 300 bytes each"},
	}},
	{"internal/filewatch", map[string]any{"Settle": 5 * time.Second, "Every": time.Minute}, map[string][]string{
		"docs/operations.md":    {"when two readings 5 s apart find the same content", "otherwise within a minute"},
		"docs/compatibility.md": {"when it has stayed the same for 5 s"},
		"docs/threat-model.md":  {"when the content has stayed the same for 5 s"},
	}},

	// Issuers.
	{"authn/issuer", map[string]any{"RefreshPeriod": 5 * time.Minute, "DiscoveryTTL": time.Hour, "NoKeyGrace": 2 * time.Minute}, map[string][]string{
		"docs/regions.md":         {"replica every 5 minutes; discovery documents: every hour"},
		"docs/scale.md":           {"fetched every 5 minutes, and one discovery document, every hour", "10,000 different issuers", "| 33 a second are read again", "less often than every 5 minutes"},
		"docs/compatibility.md":   {"its tokens get 503 for two minutes"},
		"docs/troubleshooting.md": {"no usable key for less than two minutes"},
		"docs/runbooks.md":        {"has had no key for two minutes"},
	}},
	{"authn/issuer", map[string]any{
		"DefaultFetches": 192, "DefaultFetchesPerOwner": 4, "largeBodies": 16, "smallBody": 64 * kib, "MaxBody": mib, "smallKeySet": 16 * kib, "largeKeySets": 64 * mib, "maxKeysURL": 8 * kib, "MaxKeys": 100, "MaxOwnersIssuers": 1024, "DefaultOwnersWaiters": 256,
	}, map[string][]string{
		"docs/scale.md":                    {"192 are read at a time, 4 of one owner"},
		"docs/threat-model.md":             {"may be 1 MiB**: of at most 192 concurrent fetches, 16 hold that much and the others 64 KiB", "| 256 per owner, whatever addresses", "| 16 KiB an issuer; all that is beyond that takes at most 64 MiB,"},
		"docs/workspace-authentication.md": {"| 100, in a document of 1 MiB. Each issuer may have 16 KiB of memory for them,", "comes out of 64 MiB for all workspaces", "`jwks_uri` | 8 KiB |", "(by URL, discovery URL and CA) | 1,024 |"},
	}},
	{"internal/jwks", map[string]any{"RefetchEvery": 10 * time.Second, "RefetchBurst": 4, "maxUndecided": 64}, map[string][]string{
		"docs/compatibility.md":    {"four times in a row, then at most every ten seconds"},
		"docs/troubleshooting.md":  {"the next key fetch is at most ten seconds away"},
		"docs/service-accounts.md": {"four times in a row, then every 10 s"},
		"docs/threat-model.md":     {"| 4 per issuer, then one every 10 s; 64 IDs are remembered |"},
	}},
	{"internal/egress", map[string]any{"MaxHeaderBytes": 64 * kib, "MaxHeaderFields": 256, "MaxInformational": 8, "headerTimeout": 80 * time.Second, "StreamBuffer": 64 * kib, "maxCertificates": 512 * kib, "certificateByteCost": 8, "maxRecords": 64 * kib}, map[string][]string{
		"docs/mounts.md":        {"64 KiB and 256 fields, complete within 80 s", "before it: 8, with 64 KiB and 256 fields together"},
		"docs/compatibility.md": {"at most 64 KiB and 256 fields of headers, and 8 informational responses"},
		"docs/threat-model.md":  {"512 KiB of memory, of which each byte of them counts eight times", "after the handshake, more than 64 KiB of TLS without any HTTP", "| 64 KiB, 256 fields, 80 s |", "| 8, with 64 KiB and 256 fields together |", "| 64 KiB over HTTP/2, and in the kernel's buffer"},
	}},

	// Configurations of workspace types, and identities.
	{"authn/workspacetypes", map[string]any{"MaxConfigurations": 16, "handOverWait": 10 * time.Second, "maxShown": 256, "maxTypesShown": 64, "maxErrorShown": 4 * kib}, map[string][]string{
		"docs/workspace-authentication.md": {"| configurations per type | 16 |", "after 10 s at the latest"},
		"docs/threat-model.md":             {"the old keys stay valid for at most 10 s", "| 256 of them at once, 64 types and 4 KiB of an error of each"},
		"docs/reliability.md":              {"takes effect after 10 s even if the new keys cannot be read"},
		"docs/explain.md":                  {"lists at most 256 configurations, and 64 types of each"},
		"docs/scale.md":                    {"256 configurations at most"},
	}},
	{"authn/jwt", map[string]any{
		"MaxTokenBytes": 16 * kib, "MaxSpecBytes": 128 * kib, "MaxJWTs": 16, "MaxExpressions": 32, "MaxExpressionBytes": 8 * kib,
		"maxPatterns": 5000, "maxNested": 12, "maxComposed": 256, "maxNodes": 20_000, "maxCompiled": 8 * mib, "maxGroupsPrefix": 256,
		"maxOwnersExpressions": 48 * mib, "maxAllExpressions": 192 * mib, "expressionsFloor": mib, "ownersMappingBytes": 2 * mib, "allMappingBytes": 64 * mib, "buildTime": 5 * time.Second, "maxNesting": 64, "evaluationTime": time.Second, "mappingCacheBytes": 256 * kib,
	}, map[string][]string{
		"docs/workspace-authentication.md": {
			"| size of a token | 16 KiB |", "| size of a configuration's spec | 128 KiB |", "| `jwt` entries per configuration | 16 |", "| 32, of 8 KiB each |",
			"compile to more than 5,000 instructions", "nested more than 12 deep, or more than 256 of them", "more than 20,000 nodes", "| 48 MiB once compiled, 8 MiB for one configuration; when all workspaces together have 192 MiB, 1 MiB;",
			"| prefix of a plain `groups` mapping | 256 bytes |", "| time to compile them | 5 s |", "| nesting depth of claims that expressions read | 64 |", "| time for all of a token's expressions | 1 s |",
		},
		"docs/compatibility.md": {"limited to tokens of 16 KiB"},
		"docs/threat-model.md": {
			"| 20,000 nodes after macro expansion (counted before they are expanded), 256 lists, maps and macros, 5,000 instructions of regular expressions, 8 MiB kept, 5 s |",
			"× 256 bytes of prefix", "| 48 MiB, and 192 MiB for all owners; once that is used up, each owner still has 1 MiB. Each different expression", "fit in a cache: 256 KiB for an entry of a configuration, 2 MiB for all configurations of an owner, 64 MiB for all owners",
		},
	}},
	{"authn/expression", map[string]any{"MaxSteps": 2_000_000, "MaxBytes": 4 * mib, "MaxResultBytes": 64 * kib, "MaxNodes": 10_000, "lookEvery": 4096}, map[string][]string{
		"docs/workspace-authentication.md": {"expressions together | 2,000,000 |", "| memory that they allocate together | 4 MiB |", "| result of one expression | 64 KiB |", "more than 10,000 nodes"},
		"docs/threat-model.md":             {"| 2,000,000 steps of", "every 4,096 steps", "| 4 MiB of allocations", "| 64 KiB, before conversion |"},
	}},
	{"authn/identity", map[string]any{
		"TenantsLimits.bytes": 64 * kib, "TenantsLimits.groups": 1024, "TenantsLimits.keys": 64, "TenantsLimits.values": 1024,
		"OperatorsLimits.bytes": 512 * kib, "OperatorsLimits.groups": 2048, "OperatorsLimits.keys": 128, "OperatorsLimits.values": 2048,
		"forwardedLimits.bytes": 768 * kib, "forwardedLimits.groups": 4096, "forwardedLimits.keys": 256, "forwardedLimits.values": 4096,
	}, map[string][]string{
		"docs/workspace-authentication.md": {
			"| 64 KiB of text; 1,024 groups; 64 extra keys, with 1,024 values together |",
			"2,048 groups, 128 extra keys with 2,048 values, and 512 KiB", "4,096 groups, 256 extra keys with 4,096 values, and 768 KiB",
		},
		"docs/threat-model.md": {"| 1,024 groups, 64 extra keys with 1,024 values, 64 KiB |"},
	}},
	{"authn/token", map[string]any{"CacheLife": 10 * time.Second, "CacheBytes": 4 * mib, "ownersCacheBytes": 8 * mib, "allCacheBytes": 128 * mib, "cacheFloor": 256 * kib}, map[string][]string{
		"docs/operations.md":               {"remembers it for at most 10 s"},
		"docs/architecture.md":             {"a token verified in the last 10 s is known"},
		"docs/regions.md":                  {"each token that is not remembered (10 s)"},
		"docs/token-reviews.md":            {"except for the ten seconds for which the proxy believes a token"},
		"docs/workspace-authentication.md": {"| 8 MiB: about 10,000 tokens"},
		"docs/threat-model.md":             {"up to 10 s for remembered tokens", "| 4 MiB per issuer of a configuration, 8 MiB per workspace that owns configurations, 128 MiB in total; once the total is used up, each workspace still has 256 KiB |"},
	}},

	// Webhook and service accounts.
	{"authn/webhook", map[string]any{
		"maxQuestions": 256, "maxCalls": 64, "maxWaiters": 4096, "maxToken": 64 * kib, "questionTimeout": 30 * time.Second, "reviewTries": 3,
		"acceptedBytes": 32 * mib, "refusedBytes": 16 * mib, "errorLife": 5 * time.Second, "freshFor": 10 * time.Second,
	}, map[string][]string{
		"docs/compatibility.md":    {"At most 256 tokens at a time are queued for the webhook; 64 of them are in progress", "Tokens above 64 KiB are refused"},
		"docs/troubleshooting.md":  {"no answer in 30 s, no connection | 401 | 503 | at once, up to three tries |", "running watches go on | after 5 s |"},
		"docs/threat-model.md":     {"half of the 256 queued and of the 64 in progress", "| half of 4,096;", "| 32 MiB for accepted tokens, 16 MiB for refused ones |"},
		"docs/service-accounts.md": {"if the last answer is more than 10 s old"},
	}},
	{"authn/serviceaccount", map[string]any{"DefaultKeysPeriod": 30 * time.Second, "DefaultFresh": 5 * time.Second, "maxToken": 16 * kib, "maxShardKeys": 64, "maxRunning": 64, "maxQueued": 2048}, map[string][]string{
		"docs/threat-model.md":     {"| 64 at a time for all shards: a shard alone takes at most half", "2,048 run or are queued"},
		"docs/service-accounts.md": {"when the shard appears, every 30 s,", "It reuses a positive answer for 5 s"},
		"docs/compatibility.md":    {"a subject that differs from the account in the claims, more than 16 KiB.", "A shard's key set may have at most 64 entries"},
	}},

	// Explanations.
	{"authn", map[string]any{"maxRefusals": 1024, "ringSize": 64, "repeatedWithin": time.Minute}, map[string][]string{
		"docs/explain.md":      {"1,024 in all and at most 64 for one workspace", "is refused again within a minute"},
		"docs/architecture.md": {"The last 1,024 are kept"},
		"docs/threat-model.md": {"| 24 KiB a refusal, 1,024 refusals |"},
	}},
	{"cmd/front-proxy", map[string]any{"replicaTries": 12}, map[string][]string{
		"docs/explain.md": {"tries up to 12 connections"},
	}},

	{"", nil, map[string][]string{
		"deploy/tools/go.mod": {"helm.sh/helm/v3 v3.22."},
		"docs/install.md":     {"You need Helm (tested: 3.22)"},
	}},
}

// TestPagesSayTheCodesNumbers: numbers that pages say are those of the code.
func TestPagesSayTheCodesNumbers(t *testing.T) {
	code := map[string]*checkedPackage{}
	for _, row := range numbers {
		if code[row.pkg] == nil && row.pkg != "" {
			code[row.pkg] = checkPackage(t, row.pkg)
		}
		for name, want := range row.have {
			if got, err := code[row.pkg].value(name); err != nil || got != integer(want) {
				t.Errorf("%s of %s is %d (%v), want %v; so are these sentences: %q", name, row.pkg, got, err, want, row.said)
			}
		}
		for page, sentences := range row.said {
			content, err := os.ReadFile(filepath.Join(root, page))
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Join(strings.Fields(string(content)), " ")
			for _, sentence := range sentences {
				if !strings.Contains(text, sentence) {
					t.Errorf("%s does not say %q; in %q it is %v", page, sentence, row.pkg, row.have)
				}
			}
		}
	}
}

func integer(number any) int64 { return reflect.ValueOf(number).Int() }

// checkedPackage has the constants of a package.
type checkedPackage struct {
	files []*ast.File
	pkg   *types.Package
	info  types.Info
}

// checkPackage reads a package without the functions' bodies and without what it imports.
func checkPackage(t *testing.T, dir string) *checkedPackage {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	c := &checkedPackage{info: types.Info{Types: map[ast.Expr]types.TypeAndValue{}}}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		c.files = append(c.files, f)
	}
	config := types.Config{Importer: onlyTime{}, IgnoreFuncBodies: true, Error: func(error) {}} // about what is not imported
	c.pkg, _ = config.Check(dir, fset, c.files, &c.info)
	return c
}

// value is that of a constant, of a variable's literal, or of a field in it, "Variable.field".
func (c *checkedPackage) value(name string) (int64, error) {
	name, field, _ := strings.Cut(name, ".")
	var v constant.Value
	if k, ok := c.pkg.Scope().Lookup(name).(*types.Const); ok {
		v = k.Val()
	} else if literal := c.literal(name, field); literal != nil {
		v = c.info.Types[literal].Value
	}
	if v == nil {
		return 0, errors.New("there is no such number")
	}
	n, exact := constant.Int64Val(constant.ToInt(v))
	if !exact {
		return 0, fmt.Errorf("it is %s, which is no integer", v)
	}
	return n, nil
}

// literal is what a variable begins with, or a field of it, unless that is ""; nil: there is none.
func (c *checkedPackage) literal(variable, field string) (found ast.Expr) {
	find := func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || spec.Names[0].Name != variable {
			return true
		}
		found = spec.Values[0]
		if all, ok := found.(*ast.CompositeLit); ok {
			found = nil
			for _, element := range all.Elts {
				if pair, ok := element.(*ast.KeyValueExpr); ok && types.ExprString(pair.Key) == field {
					found = pair.Value
				}
			}
		}
		return false
	}
	for _, f := range c.files {
		ast.Inspect(f, find)
	}
	return found
}

// onlyTime imports package time, with its durations only.
type onlyTime struct{}

func (onlyTime) Import(path string) (*types.Package, error) {
	if path != "time" {
		return nil, errors.New("not needed")
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "time.go", `package time
		type Duration int64
		const (
			Nanosecond  Duration = 1
			Microsecond          = 1000 * Nanosecond
			Millisecond          = 1000 * Microsecond
			Second               = 1000 * Millisecond
			Minute               = 60 * Second
			Hour                 = 60 * Minute
		)`, 0)
	if err != nil {
		return nil, err
	}
	return new(types.Config).Check("time", fset, []*ast.File{f}, nil)
}
