# The targets are a contract: their names stay. Those of later stages appear when what they run exists.
.PHONY: verify fix proto interop bench

# Read-only gate: formatting, lints, every test (with the simulation and the house rules among them).
verify:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace

# Mends what a machine can mend.
fix: proto
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# Generates proto/src/gen from the .proto files; needs no protoc.
proto:
	cargo run --quiet --package tidy --bin proto-gen
