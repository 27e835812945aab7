# Two commands do everything: `make demo` and `make test`. Each fetches what is missing, without root.
.PHONY: demo test lint bench nats

NATS := .local/bin/nats-server

demo: nats
	cargo run --release --locked -- demo

test: nats
	cargo test --locked

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo deny check bans licenses sources

bench: nats
	cargo bench --locked --bench accept --bench usage

nats: $(NATS)

$(NATS): deploy/nats/install.sh
	sh deploy/nats/install.sh
