# `make help` lists what can be made. `make test` and `make demo` need root.

SHELL   := /bin/bash
export PATH := $(PATH):/usr/local/go/bin
# Under sudo, git may refuse to look at a checkout that is not root's.
# -trimpath everywhere: the C parser is then compiled once for binary and tests.
export GOFLAGS := $(GOFLAGS) -buildvcs=false -trimpath

PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

# One static binary; cgo because PostgreSQL's own grammar is C.
STATIC  := -tags netgo,osusergo \
           -ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -linkmode external -extldflags -static"

# Programs that live under testdata, which ./... does not see.
PROGRAMS := ./testdata/bench ./testdata/compat ./testdata/scripts ./testdata/servers

# Where goroutines share state: the packages worth the race detector's price.
RACED   := ./interceptor/... ./rules/... ./pkg/record/... ./pkg/approval/... ./pkg/sqlread/...

.DEFAULT_GOAL := help
.PHONY: help deps build generate generate-check lint test test-unit test-race test-short stories fuzz-smoke compat demo bench install clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 20

deps: ## install from Debian/Ubuntu what is missing (root)
	@deploy/install-deps.sh

build: ## bin/chaperone, one static binary
	@mkdir -p bin
	CGO_ENABLED=1 go build $(STATIC) -o bin/chaperone ./cmd/chaperone

generate: ## redo the committed BPF objects and bindings (needs clang)
	go generate ./...

generate-check:
	@.ci/generate-check

lint: ## gofmt, go vet, staticcheck
	@.ci/lint $(PROGRAMS)

test: ## everything, as root: a skipped test is a failure (about 20 minutes on 2 cores)
	@.ci/test

test-unit: build
	@.ci/gotest ./... ./testdata/bench ./testdata/compat

test-race:
	@.ci/gotest -race $(RACED)

test-short: ## what needs neither root nor a server
	go test -short ./...

stories: build ## the txtar stories in testdata/scripts, with the real binary (root)
	@.ci/gotest ./testdata/scripts

fuzz-smoke: ## every fuzz target for a few seconds (FUZZTIME=5s)
	@.ci/fuzz-smoke

compat: build ## real clients and drivers' own test suites, with and without Chaperone (root)
	go run ./testdata/compat

demo: ## a masked SELECT, a held DROP and the replay, in two minutes (root)
	@deploy/demo/run

bench: build ## beside direct, haproxy and pgbouncer; rewrites docs/benchmarks.md (root; BENCH=-quick)
	go run ./testdata/bench $(BENCH)

install: build ## into $(PREFIX)/bin, with the systemd unit and the approvers' group
	install -D -m 0755 bin/chaperone $(DESTDIR)$(PREFIX)/bin/chaperone
	install -D -m 0644 deploy/systemd/chaperone.service $(DESTDIR)/etc/systemd/system/chaperone.service
	install -D -m 0644 deploy/systemd/chaperone.slice $(DESTDIR)/etc/systemd/system/chaperone.slice
	install -D -m 0644 deploy/systemd/chaperone.sysusers $(DESTDIR)/usr/lib/sysusers.d/chaperone.conf
	install -d -m 0750 $(DESTDIR)/etc/chaperone/policy.d
	$(if $(DESTDIR),,getent group chaperone >/dev/null || groupadd --system chaperone)

clean: ## what make built
	rm -rf bin
