# `make` alone prints what there is.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# What `rekindle run` is given besides: make run ARGS='hook-target-unreachable --keep'
ARGS ?=
# How long `make bench` parks a cluster besides, in seconds.
PARKED ?=
# How long each target is fuzzed, in seconds.
FUZZ ?= 20
FUZZ_TARGETS := imports releases detectors
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
test: lint standin fuzz ## Everything: format, clippy, all tests, a minute of fuzzing, and the scenarios on a real cluster
	cargo test --locked --release --workspace

.PHONY: lint
lint: needs
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings

.PHONY: check
check: lint ## Format, clippy, and the tests that need no cluster
	cargo test --locked --lib --test cli --test replay

.PHONY: fuzz
fuzz: needs ## Changes at random that nothing may panic at: 20 seconds for each target; FUZZ=600 for longer
	@command -v g++ >/dev/null || { echo 'error: g++, which libFuzzer is built with, is not on the PATH: install it as the package g++, then run make again' >&2; exit 4; }
	@# `--examples`, of which there are none: the dependencies get the features that tests ask for, and are built once for both.
	RUSTC_WORKSPACE_WRAPPER='$(CURDIR)/fuzz/rustc' cargo build --locked --release --workspace --examples $(FUZZ_TARGETS:%=--bin %)
	@for target in $(FUZZ_TARGETS); do \
	  mkdir -p "target/fuzz/$$target"; \
	  echo "fuzzing $$target for $(FUZZ)s"; \
	  target/release/$$target -max_total_time=$(FUZZ) -timeout=20 -rss_limit_mb=1536 -max_len=1048576 -len_control=0 -print_final_stats=1 \
	    -artifact_prefix="target/fuzz/$$target/" 2>"target/fuzz/$$target.log" || { tail -n 40 "target/fuzz/$$target.log" >&2; \
	    echo "error: $$target fails with the input in target/fuzz/$$target: find out where with RUST_BACKTRACE=1 cargo run -p rekindle-fuzz --bin $$target FILE" >&2; exit 1; }; \
	  grep -q 'inline 8-bit counters' "target/fuzz/$$target.log" || { echo "error: $$target was built without counters, so that it was changed blindly: look at fuzz/rustc" >&2; exit 1; }; \
	  awk '/number_of_executed_units/ { print "  " $$2 " inputs, and none made it fail" }' "target/fuzz/$$target.log"; \
	done

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
	REKINDLE_LOOKS=1 cargo test --locked --release --workspace --test scenarios -- ::broken
	$(MAKE) fuzz FUZZ=600
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
