# servisor: `make run` serves, `make test` tests, `make help` lists the rest. Each target does its own set-up.

TARGET ?= $(shell uname -m)-unknown-linux-musl
TARGETS := x86_64-unknown-linux-musl aarch64-unknown-linux-musl
# Where `make run` serves, its sandbox root, and its state: apart, or a file server in the root would serve the access token.
LISTEN ?= 127.0.0.1:18080
ROOT ?= .servisor/root
STATE ?= .servisor/state
# The limit for the static binary. The goal for the whole product, with command line, status page, proxy and metrics in it, is
# 1,150 KiB. This holds what was reached, 1,131 KiB, with room for a repair.
SIZE_LIMIT_KIB := 1138

BINARY = target/$(TARGET)/release/servisor

# Such a variable of the user would replace the flags and the profile of the configuration.
unexport RUSTFLAGS $(filter %RUSTFLAGS CARGO_PROFILE_%,$(.VARIABLES))

# For how long `make idle` looks, `make fuzz` (each target) and `make test-schema` try, and how often `make bench-ready` does.
SECONDS ?= 60
TRIALS ?= 200
# How often `make crash` kills the daemon.
KILLS ?= 200

.PHONY: help run test test-rust test-static image clock soak attack bulk test-sdk test-docs test-slow test-proxy test-aarch64 test-browser crash test-schema test-metrics fuzz idle test-threads bench-ready bench bench-proxy bench-smoke bench-probe budgets check deny release release-all dist dist-check size clean std-source

help: ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 14

run: ## Build and serve on LISTEN (127.0.0.1:18080)
	@cargo build --release --locked
	@mkdir -p $(ROOT) && mkdir -p -m 700 $(STATE)
	@echo
	@echo 'In another terminal, start a first server (paste this):'
	@echo
	@echo '  curl -sS http://$(LISTEN)/servers -H "Authorization: Bearer $$(cat $(STATE)/access-token)" -H "Content-Type: application/json" -d '"'"'{"slug":"web","start":"python3 -m http.server --bind 127.0.0.1 $$PORT","port":8000}'"'"
	@echo
	@exec target/release/servisor serve --listen $(LISTEN) --root $(ROOT) --state-dir $(STATE)

test: test-rust test-sdk test-docs size bench-smoke budgets ## Everything: unit, integration, SDK and documentation tests, size of the static binary

# A test in a module `timed` asserts a time that a machine busy with other tests exceeds: it is left out of the first pass, and
# has a second one without any neighbour. `tidy` compares the passes with the list of all tests.
TIMED := ::timed::
ALONE := --include-ignored --test-threads=1 --nocapture

test-rust: image clock
	cargo build --locked --examples
	cargo test --locked -- --skip $(TIMED)
	cargo test --locked --test it -- $(TIMED) $(ALONE)

test-static: image clock ## The integration tests once more, on the static binary
	cargo build --locked --examples
	SERVISOR_BIN=$(CURDIR)/$(BINARY) cargo test --locked --test it -- --skip soak --skip $(TIMED)
	SERVISOR_BIN=$(CURDIR)/$(BINARY) cargo test --locked --test it -- $(TIMED) $(ALONE)

# What stands in for a container image in the tests: the static binary, and a static shell.
BUSYBOX = target/busybox/bin/busybox

image: release $(BUSYBOX)

$(BUSYBOX):
	@rm -rf target/busybox && mkdir -p target/busybox
	cd target/busybox && { apt-get download -q busybox-static || { apt-get update -q && apt-get download -q busybox-static; }; }
	dpkg -x target/busybox/busybox-static_*.deb target/busybox
	@test -x $@

# A time of day that a test can set, for the daemon and its servers alone. Where the package has it depends on the machine.
FAKETIME = target/faketime/libfaketime.so

clock: $(FAKETIME)

$(FAKETIME):
	@rm -rf target/faketime && mkdir -p target/faketime
	cd target/faketime && { apt-get download -q libfaketime || { apt-get update -q && apt-get download -q libfaketime; }; }
	dpkg -x target/faketime/libfaketime_*.deb target/faketime
	cp target/faketime/usr/lib/*/faketime/libfaketimeMT.so.1 $@

tests/sdk/node_modules: tests/sdk/package-lock.json
	cd tests/sdk && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

test-sdk: tests/sdk/node_modules ## The real client against the daemon
	cargo build --locked
	cd tests/sdk && SERVISOR_BIN=$(CURDIR)/target/debug/servisor node --test

test-docs: tests/sdk/node_modules image ## The documentation: each command runs, each link leads somewhere, no table has drifted
	cargo build --locked
	SERVISOR_BIN=$(CURDIR)/target/debug/servisor node --test tests/docs/*.test.mjs

# The frameworks, installed once; each of their applications is made anew.
target/proxy/.complete: tests/slow/proxy/package.json tests/slow/proxy/requirements.txt
	mkdir -p target/proxy && cp tests/slow/proxy/package.json target/proxy/
	cd target/proxy && npm install --no-audit --no-fund --loglevel=error
	python3 -m venv target/proxy/venv
	target/proxy/venv/bin/pip install --quiet -r tests/slow/proxy/requirements.txt
	@touch $@

test-proxy: tests/browser/node_modules target/proxy/.complete ## Vite, Next.js, webpack, Streamlit, Jupyter, Django, Sinatra, Flask behind public URLs, in Chromium
	@command -v chromium >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends chromium; }
	@ruby -e 'require "sinatra/base"; require "puma"' 2>/dev/null || { apt-get update -q && RUNLEVEL=1 apt-get install -q -y --no-install-recommends ruby ruby-sinatra puma; }
	cargo build --locked
	PROXY_APPS=$(CURDIR)/target/proxy PROXY_VENV=$(CURDIR)/target/proxy/venv SERVISOR_BIN=$(CURDIR)/target/debug/servisor \
		node --test --test-concurrency=1 tests/slow/proxy/*.test.mjs

# Debian starts what it installs, unless the system is at run level 1.
test-slow: tests/sdk/node_modules test-proxy ## Real programs, those of test-proxy too: Vite, Next.js, Express, Flask, nginx, redis, PostgreSQL, gunicorn, Caddy
	@{ command -v nginx && command -v caddy && command -v redis-server && command -v gunicorn && ls -d /usr/lib/postgresql/*; } >/dev/null 2>&1 || { apt-get update -q && RUNLEVEL=1 apt-get install -q -y --no-install-recommends nginx-light caddy redis-server postgresql gunicorn python3-setproctitle; }
	cargo build --locked --release
	SERVISOR_BIN=$(CURDIR)/target/release/servisor node --test --test-concurrency=1 tests/slow/*.test.mjs

# Its seed is printed; SEED=n repeats a run.
crash: ## Kill the daemon at KILLS random moments while clients change what it keeps
	cargo build --locked --examples
	IT_KILLS=$(KILLS) $(if $(SEED),IT_SEED=$(SEED)) cargo test --locked --test it nothing_that_was_answered_is_lost -- --nocapture

target/schema/bin/schemathesis:
	python3 -m venv target/schema
	target/schema/bin/pip install --quiet schemathesis==4.32.5

test-schema: target/schema/bin/schemathesis ## The API attacked by schemathesis (from PyPI), led by its own document, for SECONDS
	cargo build --locked
	target/schema/bin/python tests/schema/run.py target/debug/servisor $(SECONDS)

target/metrics/bin/python:
	python3 -m venv target/metrics
	target/metrics/bin/pip install --quiet prometheus-client==0.23.1

test-metrics: target/metrics/bin/python ## /metrics read by the parser of the Prometheus client (from PyPI)
	cargo build --locked
	target/metrics/bin/python tests/metrics/run.py target/debug/servisor

FUZZ_TARGETS := $(patsubst tests/fuzz/targets/%.rs,%,$(wildcard tests/fuzz/targets/*.rs))

target/tools/bin/cargo-fuzz:
	cargo install --locked --root target/tools --version 0.13.2 cargo-fuzz

# The stable compiler will do: without a sanitizer no flag of the nightly one is needed. What was found is kept in
# target/fuzz, as the corpus is; an input that fails is in target/fuzz/findings.
fuzz: target/tools/bin/cargo-fuzz ## Each target of tests/fuzz, or TARGET=one, for SECONDS
	@targets='$(if $(filter command line,$(origin TARGET)),$(TARGET),$(FUZZ_TARGETS))'; for target in $$targets; do \
		mkdir -p target/fuzz/corpus/$$target target/fuzz/findings/$$target; \
		PATH="$(CURDIR)/target/tools/bin:$$PATH" cargo fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz -s none $$target \
			target/fuzz/corpus/$$target tests/fuzz/seeds/$$target -- -max_total_time=$(SECONDS) -timeout=10 -max_len=4096 \
			-artifact_prefix=target/fuzz/findings/$$target/ -print_final_stats=1 || exit 1; \
	done

tests/browser/node_modules: tests/browser/package-lock.json
	cd tests/browser && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

test-browser: tests/browser/node_modules ## Pages in a real browser (Debian's Chromium) against the daemon
	@command -v chromium >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends chromium; }
	cargo build --locked
	SERVISOR_BIN=$(CURDIR)/target/debug/servisor node --test --test-concurrency=1 tests/browser/*.test.mjs

# Both measure the release build, with the tests as they are.
MEASURE = SERVISOR_BIN=$(CURDIR)/target/release/servisor cargo test --locked --test it

idle: ## What 100 ready servers cost in SECONDS: nothing
	cargo build --locked --release
	cargo build --locked --examples
	IDLE_SECONDS=$(SECONDS) $(MEASURE) a_hundred_ready_servers_cost_nothing -- --nocapture

soak: release ## Random operations and faults against a model for SECONDS (an hour), on the static binary
	cargo build --locked --examples
	SOAK_SECONDS=$(if $(filter file,$(origin SECONDS)),3600,$(SECONDS)) SERVISOR_BIN=$(CURDIR)/$(BINARY) \
		cargo test --locked --test it whatever_happens -- --nocapture

# In a memory control group of 32 MiB where one can be made.
attack: release ## Hostile clients in all ways at once for SECONDS, while the owner works, on the static binary
	cargo build --locked --examples
	ATTACK_SECONDS=$(SECONDS) SERVISOR_BIN=$(CURDIR)/$(BINARY) cargo test --locked --test it attacks:: -- --nocapture

# The bytes of each of its four bodies.
BULK = 10000000000

bulk: release ## 10 GB each way through a public URL in the same memory, and the API beside 512 busy tunnels, on the static binary
	cargo build --locked --examples
	BULK_BYTES=$(BULK) SERVISOR_BIN=$(CURDIR)/$(BINARY) cargo test --locked --test it -- \
		bodies_both_ways the_api_answers_beside --nocapture --test-threads 1

test-threads: std-source ## Races in the daemon and its unit tests, by ThreadSanitizer; the soak for SECONDS
	tests/threads/run.sh $(SECONDS)

bench-ready: ## From listen() to ready, TRIALS times
	cargo build --locked --release
	cargo build --locked --examples
	TRIALS=$(TRIALS) $(MEASURE) from_listen_to_the_answer -- --nocapture

# Clippy also refuses what the oldest compiler of Cargo.toml's `rust-version` doesn't have. A build with that one, and cargo deny,
# follow where they are installed.
check: target-$(TARGET) ## Format, lints as errors, documentation, packages, and that the fuzz targets still fit
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --target $(TARGET) -- -D warnings
	@if rustup toolchain list | grep -q '^$(MSRV)-'; then cargo +$(MSRV) check --locked --target-dir target/msrv; \
		else echo 'skipped: the build with Rust $(MSRV), which is not installed (rustup toolchain install $(MSRV))'; fi
	@if cargo deny --version >/dev/null 2>&1; then $(DENY); else echo 'skipped: cargo deny, which is not installed (make deny)'; fi
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
	RUSTFLAGS='--cfg fuzzing' cargo check --locked --quiet --manifest-path tests/fuzz/Cargo.toml --target-dir target/fuzz-check

MSRV = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# The database of advisories is not in a package registry: without it the other checks are made.
DENY = cargo deny --locked check $(if $(ADVISORIES),,bans licenses sources)

target/tools/bin/cargo-deny:
	cargo install --locked --root target/tools --version 0.20.2 cargo-deny

deny: target/tools/bin/cargo-deny ## Licences, sources and versions of packages; with ADVISORIES=1 the database of advisories too
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(DENY)

target-%:
	@rustup target list --installed | grep -qx '$*' || rustup target add '$*'

# The standard library as it comes links a symbolizer of 250 KiB for backtraces that a stripped binary could not show,
# and is made for speed. So it is built from its own sources without that, for size, by the same stable compiler, which
# wants to be asked twice for it. Without the places of panics (their messages stay) another 40 KiB are saved. A panic that
# leaves a destructor aborts, as a second panic does anyway: without code to clean up after each drop it is 60 KiB less.
# LLVM inlines fewer functions if a call within one counts more: 7 KiB. The blocks of a function stand in the order that needs
# the fewest jumps: 11 KiB. A function that no panic can leave needs no entry in the tables for unwinding, which the platform
# wants for debuggers: 23 KiB.
BUILD_STD = -Zbuild-std=std,panic_unwind \
	--config 'target.$(TARGET).rustflags=["-Zlocation-detail=none","-Zpanic-in-drop=abort","-Cllvm-args=-inline-call-penalty=60","-Cllvm-args=-apply-ext-tsp-for-size","-Cllvm-args=-force-remove-attribute=uwtable"]'

# Nearly every function can be left by a panic of one of these three, for a size over isize::MAX, which is a bug, or for memory
# that is out, which ends the process anyway. Marked as never unwinding (a panic there aborts) they save all callers the
# clean-up: 37 KiB. The mark wants the compiler's name of a function, and the name has an id that depends on the compiler and
# its place. So `alloc` is built once without it, in a place of its own (20 s), and searched for the names.
ABORTING = 7raw_vec12handle_error\|7raw_vec17capacity_overflow\|5alloc18handle_alloc_error
NO_UNWIND = --config "target.$(TARGET).rustflags=[$$(grep -aoh '_RNvNtCs[0-9A-Za-z]*_5alloc\($(ABORTING)\)' \
	target/names/$(TARGET)/release/deps/liballoc-*.rlib | sort -u | sed 's/.*/"-Cllvm-args=-force-attribute=&:nounwind",/')]"

# It goes before rust-lld: smaller tables for unwinding (58 KiB), and code that sleeps in one place. By its name the compiler
# knows which options it takes.
LINKER = target/linker/rust-lld
LINKED = --config 'target.$(TARGET).linker="$(LINKER)"'

$(LINKER): .cargo/linker.rs
	@mkdir -p $(@D)
	rustc --edition 2024 -O -o $@ $<

STD_FEATURES = -Zbuild-std-features=optimize_for_size
CARGO_STATIC = RUSTC_BOOTSTRAP=1 cargo build --locked --release --target $(TARGET) $(STD_FEATURES)
CARGO_RELEASE = $(CARGO_STATIC) $(BUILD_STD) $(LINKED)

std-source:
	@test -e "$$(rustc --print sysroot)/lib/rustlib/src/rust/library/std" || rustup component add rust-src

release: target-$(TARGET) std-source $(LINKER) ## The static binary for TARGET
	@$(CARGO_STATIC) -Zbuild-std=core,alloc --quiet --package log --target-dir target/names
	$(CARGO_RELEASE) $(NO_UNWIND)
	@echo "$(BINARY)"

bench-probe: release
	$(CARGO_RELEASE) $(NO_UNWIND) --example benchprobe --example hotpath

BENCH = python3 tests/bench/bench.py --servisor $(BINARY) --probe target/$(TARGET)/release/examples/benchprobe --into target/bench

bench: bench-probe ## servisor beside its peers: one table; ROWS=memory,stop PEERS=supervisord picks
	$(BENCH) --rows '$(ROWS)' --peers '$(PEERS)'

bench-proxy: bench-probe ## The public URLs beside Caddy and Node's http-proxy
	python3 tests/bench/proxy.py --servisor $(BINARY) --probe target/$(TARGET)/release/examples/benchprobe --into target/bench

bench-smoke: bench-probe
	$(BENCH) --smoke

budgets: bench-probe ## Memory with 100 servers, instructions of hot paths; fails over the budget
	python3 tests/bench/budgets.py --servisor $(BINARY) --hotpath target/$(TARGET)/release/examples/hotpath --into target/bench

# All packages of Cargo.lock are fetched, those of other systems too: `make dist` lists them, and needs no network then.
release-all: ## The static binaries for x86_64 and aarch64
	@cargo fetch --locked --quiet
	@for target in $(TARGETS); do $(MAKE) --no-print-directory release TARGET=$$target || exit 1; done

# Two builds of one commit are the same bytes, wherever they are made.
dist: export BUILD_COMMAND = $(subst $(TARGET),TARGET,$(CARGO_RELEASE))
dist: export NO_UNWIND_IN = $(subst \|, ,$(ABORTING))
dist: release-all ## What is shipped, in target/dist: archives, Debian and npm packages, SBOM, checksums
	.dist/build.sh target/dist $(foreach target,$(TARGETS),$(firstword $(subst -, ,$(target)))=target/$(target)/release/servisor)

# A Node.js whose process.execve the launcher uses, whichever is installed: a package of npm has it.
NODE_PACKAGE = node-linux-$(if $(filter aarch64,$(shell uname -m)),arm64,x64)
NEW_NODE = target/node/node_modules/$(NODE_PACKAGE)/bin/node

$(NEW_NODE):
	npm install --prefix target/node --no-audit --no-fund --loglevel=error $(NODE_PACKAGE)@22.23.5

dist-check: dist $(NEW_NODE) ## Build it once more elsewhere, compare, and install and run each file in an empty root
	python3 tests/dist/check.py target/dist target/qemu $(NEW_NODE)

test-aarch64: ## The aarch64 binary, emulated, through a basic life-cycle
	$(MAKE) --no-print-directory release TARGET=aarch64-unknown-linux-musl
	python3 tests/aarch64/lifecycle.py target/aarch64-unknown-linux-musl/release/servisor target/qemu

size: release ## The static binary's size; fails over the budget
	@bytes=$$(wc -c < $(BINARY)); kib=$$(( (bytes + 1023) / 1024 )); \
	echo "$(BINARY): $$kib KiB of $(SIZE_LIMIT_KIB)"; \
	test $$kib -le $(SIZE_LIMIT_KIB) || { echo "too large"; exit 1; }

clean: ## Remove what was built
	cargo clean
	rm -rf tests/sdk/node_modules tests/browser/node_modules tests/fuzz/target
