# `make` alone prints what there is.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# What `rekindle run` is given besides: make run ARGS='hook-target-unreachable --keep'
ARGS ?=
# How long `make bench` parks a cluster besides, in seconds.
PARKED ?=
CARGO_DENY := 0.18.9
CACHE := $(or $(REKINDLE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rekindle)
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: help
help: ## Print this
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: needs
needs:
	@for tool in \
	  'cargo|install Rust from https://rustup.rs' \
	  'go|install Go from https://go.dev/dl or as the package golang' \
	  'gcc|install a C compiler, as the package gcc'; do \
	  command -v "$${tool%%|*}" >/dev/null || { echo "error: $${tool%%|*} is not on the PATH: $${tool#*|}, then run make again" >&2; exit 4; }; \
	done

.PHONY: standin
standin: needs
	@# Static, so that it runs in an image that holds nothing else.
	@RUSTFLAGS='-C target-feature=+crt-static' cargo build --quiet --locked --release --bin standin --no-default-features \
	  --target $(HOST) --target-dir target/standin

.PHONY: build
build: needs ## Build rekindle: target/release/rekindle
	cargo build --locked --release --bin rekindle

.PHONY: run
run: standin build ## Run every scenario, set-up included; ARGS='SLUG --keep' for anything else
	target/release/rekindle $(strip run $(ARGS))

.PHONY: test
test: lint standin ## Everything: format, clippy, all tests, and the scenarios on a real cluster
	cargo test --locked --release

.PHONY: lint
lint: needs
	cargo fmt --check
	cargo clippy --locked --all-targets -- --deny warnings

.PHONY: check
check: lint ## Format, clippy, and the tests that need no cluster
	cargo test --locked --lib --test cli --test replay

.PHONY: deny
deny: needs ## Licences, bans and sources of all dependencies
	@deny='$(CACHE)/cargo-deny-$(CARGO_DENY)/bin/cargo-deny'; \
	if [ ! -x "$$deny" ]; then \
	  echo 'building cargo-deny $(CARGO_DENY), once'; \
	  cargo install --quiet --locked --debug --root "$${deny%/bin/*}" --version $(CARGO_DENY) cargo-deny; \
	fi; \
	"$$deny" --log-level error --all-features check bans licenses sources; \
	if out=$$("$$deny" --log-level error check advisories 2>&1); then echo "$$out"; \
	elif grep -q 'failed to fetch advisory database' <<<"$$out"; then \
	  echo 'advisories not checked: their database cannot be reached from here'; \
	else echo "$$out" >&2; exit 1; fi

.PHONY: bench
bench: standin ## How fast the harness is, against plain kind and a script; takes an hour; PARKED='600 3600' for longer pauses
	cargo bench --locked --bench replay
	cargo bench --locked --bench speed
	cargo bench --locked --bench suite -- $(PARKED)

.PHONY: nightly
nightly: standin build ## Everything for longer: looks at what broke, inputs changed at random, durations as documented
	REKINDLE_LOOKS=1 cargo test --locked --release --test scenarios -- ::broken
	REKINDLE_MUTATIONS=600 cargo test --locked --release --test mutations
	target/release/rekindle run --profile faithful $(ARGS)

.PHONY: schema
schema: ## Write the schemas in docs anew
	@for file in report recording; do \
	  cargo run --quiet --locked -- schema $$file > target/$$file.schema.json; \
	  mv target/$$file.schema.json docs/$$file.schema.json; \
	done

.PHONY: down
down: build ## Remove the cluster that stays
	target/release/rekindle down

.PHONY: clean
clean: build ## Remove all clusters and what dead runs left; what was built stays
	target/release/rekindle clean
