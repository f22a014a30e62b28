# The targets are a contract: their names stay.
.PHONY: verify fix proto interop bench chaos power-cut sim sim-build sim-plants fuzz fuzz-build

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

# Tier B (docs/RELIABILITY.md): openraft and our adapters over a simulated network and disks, one seed a process. A bad seed prints the line
# that replays it: `make sim SEEDS=1 SEED=n`. Three seeds are run again and must leave the same trace.
# SIM_PROFILE=dev is quicker to build and slower to run.
SEEDS ?= 30
SEED ?= 1
SIM_PROFILE ?= sim
SIM = target/sim/$(if $(filter dev,$(SIM_PROFILE)),debug,$(SIM_PROFILE))/sim-raft
sim: sim-build
	$(SIM) many $(SEEDS) $(SEED)
	test $(SEEDS) -lt 10 || $(SIM) scripts 1 $(SEED)
	test $(SEEDS) -lt 10 || $(SIM) twice 3 $(SEED)

# With each bug planted in turn, some seed within 100 must fail.
sim-plants: sim-build
	$(SIM) plants $(SEED)

# Its flags would rebuild everything in the ordinary target folder, so it has one of its own.
sim-build:
	RUSTFLAGS='--cfg chancery_sim --cfg tokio_unstable' cargo build --quiet --locked --package sim-raft --profile $(SIM_PROFILE) --target-dir target/sim

# Third-party clients against a real cluster and agent; what they need (py-spiffe, grpcio) goes into an environment under target/.
# A tool that is missing fails here, where `cargo test` only says that it skipped.
interop:
	cargo build --release --locked
	CHANCERY_BIN=$(CURDIR)/target/release/chancery CHANCERY_INTEROP_REQUIRED=1 \
		cargo test --workspace --locked --test in_process --test dev_cluster -- --nocapture

# Ratios against a bare peer of the same run: docs/BENCHMARKS.md and target/bench.json. BENCH_ARGS=--short for the form that CI runs.
# Durable writes are compared with etcd too where one is on the PATH (Debian: etcd-server), or with ETCD=path.
ETCD ?= $(shell command -v etcd)
bench:
	cargo run --profile dist --locked --package bench -- $(BENCH_ARGS) $(if $(ETCD),--etcd $(ETCD))

# Real processes under real faults: docs/RELIABILITY.md. The short form takes less than five minutes; ROUNDS=n plays n times as many
# rounds and the long scenarios too. What this machine cannot do is said and skipped. CHAOS_ARGS="--only kill --faults 5 --seed 7" for a part.
chaos:
	cargo build --release --locked --package chaos
	target/release/chaos run --rounds $(or $(ROUNDS),0) $(CHAOS_ARGS)

# Every node on a loop-mounted disk that loses what was not synced; only root, only where loop mounts exist.
power-cut:
	cargo build --release --locked --package chaos
	target/release/chaos power-cut $(if $(ROUNDS),--rounds $(ROUNDS)) $(CHAOS_ARGS)

# Every decoder of bytes from outside, FUZZ_S seconds each, under coverage (docs/RELIABILITY.md). FUZZ="kms state-proposal" for some of them,
# FUZZ_SEED for other choices. What fails is kept in target/fuzz/failed, with the command that decodes it again.
FUZZ_S ?= 60
FUZZ_SEED ?= 1
fuzz: fuzz-build
	target/release/fuzz run --seconds $(FUZZ_S) --seed $(FUZZ_SEED) $(FUZZ)

# Only our own crates are instrumented: the rest is what the ordinary release build has built.
fuzz-build:
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/fuzz/instrument cargo build --quiet --release --locked --package fuzz
