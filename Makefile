# The targets are a contract: their names stay. `sim`, `chaos`, `power-cut` and `fuzz` appear when what they run exists.
.PHONY: verify fix proto interop bench

# Read-only gate: formatting, lints, every test (the simulation and the house rules among them).
verify:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked

# Mends what a machine can mend.
fix: proto
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# Generates proto/src/gen from the .proto files; needs no protoc.
proto:
	cargo run --quiet --package tidy --bin proto-gen

# Third-party clients against a real cluster and agent; what they need (py-spiffe, grpcio) goes into an environment under target/.
# A tool that is missing fails here, where `cargo test` only says that it skipped.
interop:
	cargo build --release --locked
	CHANCERY_BIN=$(CURDIR)/target/release/chancery CHANCERY_INTEROP_REQUIRED=1 \
		cargo test --workspace --locked --test in_process --test dev_cluster -- --nocapture

# Ratios against a bare peer of the same run: docs/BENCHMARKS.md and target/bench.json. BENCH_ARGS=--short for the form that CI runs.
bench:
	cargo run --release --locked --package bench -- $(BENCH_ARGS)
