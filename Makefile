# The targets are a contract: their names stay. `sim` and `fuzz` appear when what they run exists.
.PHONY: verify fix proto interop bench chaos power-cut

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

# Real processes under real faults: docs/RELIABILITY.md. The short form takes less than five minutes; ROUNDS=n plays n times as many
# rounds and the long scenarios too. What this machine cannot do is said and skipped. CHAOS_ARGS="--only kill --faults 5 --seed 7" for a part.
chaos:
	cargo build --release --locked --package chaos
	target/release/chaos run --rounds $(or $(ROUNDS),0) $(CHAOS_ARGS)

# Every node on a loop-mounted disk that loses what was not synced; only root, only where loop mounts exist.
power-cut:
	cargo build --release --locked --package chaos
	target/release/chaos power-cut $(if $(ROUNDS),--rounds $(ROUNDS)) $(CHAOS_ARGS)
