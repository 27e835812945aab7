# Two commands do everything: `make demo` and `make test`. Each fetches what is missing, without root.
.PHONY: demo test faults fuzz lint bench nats

NATS := .local/bin/nats-server

demo: nats
	cargo run --release --locked -- demo

# Tests wait more than they work: two at a time for each core.
test: export RUST_TEST_THREADS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))
test: nats
	cargo test --locked

# Everything that can break, broken: three seeds, or FAULTS_SEED=7 (several with commas, or random).
faults: nats
	cargo test --locked --test it faults:: -- --ignored --test-threads 1 --nocapture

lint:
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo deny check bans licenses sources

# Four fuzz targets, FUZZ_SECONDS (60) each, on the stable compiler.
fuzz:
	sh fuzz/run.sh

bench: nats
	cargo bench --locked --bench accept --bench usage --bench hostile

nats: $(NATS)

$(NATS): deploy/nats/install.sh
	sh deploy/nats/install.sh
