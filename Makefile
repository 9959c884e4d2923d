# CI calls only these targets. Everything is built into bin/.
SHELL := /bin/bash -o pipefail
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo v0.0.0-dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
kcp      = bin/kcp-$(shell awk '$$1 == "github.com/kcp-dev/kcp" {print $$2}' e2e/kcp-$(1)/go.mod)
KCP031  := $(call kcp,0.31)
KCP032  := $(call kcp,0.32)
# Tests of e2e/ and e2e/across that run on kcp 0.31, too.
ON031   := ChangeOfImage|ArgumentsOfKcpFrontProxy|Shadow|Health|UsersOfATypeGetIntoItsWorkspacesOnly|UnknownCluster|HomeWorkspace|GlobalWayAlone|GlobalWaysTogether|ServiceAccountTokensClaimByClaim|BadTokensAreRefused|MountReentry|Migration|LifecycleGroups
ACROSS031 := InitializersOfAccountsWorkspaces
# The packages that start kcp.
ONKCP   := /e2e(/across|/demo)?$$
VWF     := bin/virtual-workspace-framework
LOGIN   := bin/login-tools-$(shell sha256sum e2e/login-tools/go.sum | cut -c1-12)
IMAGE   := bin/image-tool-$(shell cat deploy/image/go.sum deploy/image/*.go | sha256sum | cut -c1-12)
DEPLOY  := bin/deploy-tools-$(shell cat deploy/tools/go.sum deploy/tools/*/*.go | sha256sum | cut -c1-12)
# The Kubernetes version that helm assumes when it has no cluster to ask: its client-go's, as in helm's own builds.
K8SMINOR = $(shell awk '$$1 == "k8s.io/client-go" {split($$2, v, "."); print v[2]; exit}' deploy/tools/go.mod)
HELMK8S  = $(foreach p,chartutil lint/rules,-X helm.sh/helm/v3/pkg/$(p).k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$(p).k8sVersionMinor=$(K8SMINOR))
DOCTESTS := Links|Doc$$|NamesTests
LINT    := bin/lint-$(shell sha256sum .ci/lint/go.sum | cut -c1-12)

# Where make image puts it, for which architectures, and the commit that its label names.
OUT      ?= bin/image
ARCHS    ?= amd64 arm64
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)

.PHONY: build image deploy-tools test test-unit test-browser lint docs bench conformance soak demo fuzz clean

build: ## bin/front-proxy and the kubectl plugin bin/kubectl-kcp_login
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/front-proxy ./cmd/front-proxy
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/kubectl-kcp_login ./cmd/kubectl-kcp-login

image: $(IMAGE) ## bin/image: an OCI image for amd64 and arm64, without a container engine; an SBOM beside each program, bin/image-…/front-proxy.cdx.json
	for arch in $(ARCHS); do CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' \
	  -o $(OUT)-$$arch/front-proxy ./cmd/front-proxy || exit 1; done
	@$(IMAGE)/image -version '$(VERSION)' -revision '$(REVISION)' -out $(OUT) $(foreach a,$(ARCHS),linux/$(a)=$(OUT)-$(a)/front-proxy)

test: build image deploy-tools $(KCP031) $(KCP032) $(LOGIN) ## everything, real kcp included
	$(GOTEST) -count=1 -p $(PACKAGES) -parallel $(TESTS) -timeout 20m $(LONGEST) $$(go list ./... | grep -v -E '$(ONKCP)')
	+@$(MAKE) --no-print-directory -j$(KCPS) --output-sync=target $(PHASES)

# make test uses no cached results (-count=1): some tests run programs in bin/, which go test does not know of.
# -w -s: without tables for debuggers, linking takes a third less time, which saves well over a minute of one
# core for all packages. Panics and races still name lines.
GOTEST := go test -race -ldflags='-w -s'

# How many packages' tests run at a time on two cores, how many parallel tests of each, and the packages that
# begin first because they take longest. They wait about as long as they compute.
PACKAGES ?= 4
TESTS    ?= 4
LONGEST  := ./deploy ./cmd/front-proxy ./proxy

# These wait for kcp more than they compute, so three run at a time, and four tests of each.
# Each prints all of its output when it ends. TestDemo runs make itself, which must not inherit these flags.
KCPS   ?= 3
PHASES := on-kcp on-kcp-across on-kcp-demo on-kcp-0.31
ONEKCP  = @MAKEFLAGS='$(MAKEOVERRIDES)' $(GOTEST) -count=1 -timeout 40m -parallel 4
.PHONY: $(PHASES)
on-kcp:
	$(ONEKCP) ./e2e
on-kcp-across on-kcp-demo: on-kcp-%:
	$(ONEKCP) ./e2e/$*
on-kcp-0.31: export FRONT_PROXY_E2E_KCP = 0.31
on-kcp-0.31:
	$(ONEKCP) -timeout 20m -run '^Test($(ON031))$$' ./e2e
	$(ONEKCP) -timeout 20m -run '^Test($(ACROSS031))$$' ./e2e/across

deploy-tools: $(DEPLOY) ## helm and the checks that the tests of deploy/ run

test-unit: ## fast: no kcp, and no test that starts the whole program
	$(GOTEST) -short -p $(PACKAGES) -parallel $(TESTS) ./proxy $$(go list ./... | grep -v -e /e2e -e /deploy)

test-browser: build bin/browser-provider/node_modules ## a login in a real browser, by hand only: needs Debian's chromium, node and npm; pictures in bin/browser-pictures
	go test -tags browser -count=1 -v ./e2e/browser

lint: $(LINT) ## golangci-lint, govulncheck, the docs' links and generated pages
	$(LINT)/golangci-lint run ./...
	.ci/vulncheck $(LINT)/govulncheck
	go test -count=1 -run '$(DOCTESTS)' ./docs ./proxy/metrics ./cmd/front-proxy ./deploy

docs: ## updates the generated pages
	UPDATE_DOCS=1 go test -count=1 -run 'Test(Metrics|Flags|ChartReadme|ChartFiles)Doc' ./proxy/metrics ./cmd/front-proxy ./deploy

bench: build $(KCP031) ## the comparison of docs/performance.md, 15 minutes and 10 for the attacks on neighbours; BENCH= sets its flags, DOCS=1 updates that page
	go build -o bin/bench ./e2e/bench
	bin/bench -out bin/bench-results $(if $(DOCS),-docs docs/performance.md) $(BENCH)
	go test -run '^$$' -bench . -benchmem -count $(or $(COUNT),1) -p 1 ./authn/... ./index/... ./lookup/... ./proxy ./cmd/front-proxy | tee bin/bench-results/go.txt

conformance: build $(KCP031) $(KCP032) ## kcp's own suites through this proxy, about 10 minutes for each kcp; DOCS=1 updates docs/compatibility.md
	go run ./e2e/conformance $(if $(DOCS),-docs docs/compatibility.md) $(CONFORMANCE)

soak: build $(KCP032) ## an hour of mixed load on two real shards while everything breaks and changes; SOAK= its flags, DOCS=1: into docs/reliability.md
	go run ./e2e/soak $(if $(DOCS),-docs docs/reliability.md) $(SOAK)

demo: build $(KCP032) $(LOGIN) ## two shards, an issuer and the proxy, until Ctrl-C
	go build -o bin/demo ./e2e/demo
	@if [ -t 0 ]; then bash -mc bin/demo; else bin/demo; fi # a foreground job: Ctrl-C is no failure of make's

$(KCP031): e2e/kcp-0.31/go.sum e2e/kcp-0.31/go.mod
$(KCP032): e2e/kcp-0.32/go.sum e2e/kcp-0.32/go.mod $(VWF)
$(KCP031) $(KCP032):
	@echo "building kcp, its servers and kubectl into $@: about 5 minutes, once"
	go build -C $(<D) -o $(CURDIR)/$@.tmp/ tool
	rm -rf $@ && mv $@.tmp $@ && touch $@

bin/browser-provider/node_modules: $(wildcard e2e/browser/provider/*)
	mkdir -p bin/browser-provider && cp e2e/browser/provider/* bin/browser-provider/
	npm ci --prefix bin/browser-provider --no-audit --no-fund && touch $@

$(LOGIN): e2e/login-tools/go.mod e2e/login-tools/go.sum
	@echo "building the issuer Dex and kubelogin into $@: a few minutes, once"
	go build -C e2e/login-tools -o $(CURDIR)/$@.tmp/ tool
	rm -rf $@ && mv $@.tmp $@ && touch $@

$(VWF): e2e/kcp-0.31/go.sum e2e/kcp-0.32/segment.go ## what kcp 0.32 is built with: segment.go says why
	rm -rf $@ $@.tmp && go mod download -C $(<D) github.com/kcp-dev/$(@F)
	cp -R "$$(go list -C $(<D) -m -f '{{.Dir}}' github.com/kcp-dev/$(@F))" $@.tmp && chmod -R u+w $@.tmp
	cp e2e/kcp-0.32/segment.go $@.tmp/pkg/forwardingregistry/ && mv $@.tmp $@ && touch $@

$(LINT): .ci/lint/go.mod .ci/lint/go.sum
	@echo "building the linters into $@: a few minutes, once"
	go build -C .ci/lint -o $(CURDIR)/$@.tmp/ tool
	rm -rf $@ && mv $@.tmp $@ && touch $@

$(IMAGE): deploy/image/go.mod deploy/image/go.sum $(wildcard deploy/image/*.go)
	go vet -C deploy/image ./...
	go build -C deploy/image -ldflags '-s -w' -o $(CURDIR)/$@.tmp/ .
	rm -rf $@ && mv $@.tmp $@ && touch $@

$(DEPLOY): deploy/tools/go.mod deploy/tools/go.sum $(wildcard deploy/tools/*/*.go)
	@echo "building helm and the checks of deploy/ into $@: a few minutes, once"
	go vet -C deploy/tools ./...
	go build -C deploy/tools -ldflags '-s -w $(HELMK8S)' -o $(CURDIR)/$@.tmp/ tool ./strict ./alerts
	rm -rf $@ && mv $@.tmp $@ && touch $@
