# Two commands do everything: `make demo` and `make test`. Each fetches what is missing, without root.
.PHONY: demo test lint fuzz bench nats

NATS := .local/bin/nats-server

demo: nats
	cargo run --release --locked -- demo

test: nats
	cargo test --locked

lint:
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo deny check bans licenses sources

# Four fuzz targets, FUZZ_SECONDS (60) each, on the stable compiler.
fuzz:
	sh fuzz/run.sh

bench: nats
	cargo bench --locked --benches

nats: $(NATS)

$(NATS): deploy/nats/install.sh
	sh deploy/nats/install.sh
