//! A small coverage-guided fuzzer that needs stable Rust and nothing else (docs/adr/0010-a-fuzzer-of-our-own.md).
//!
//! [`run`] is the loop of one target, in a process of its own; [`supervise`] starts these processes and keeps the input at which one died.
//! It knows nothing of what is decoded.

pub mod corpus;
pub mod mutate;
pub mod probe;
pub mod rng;
pub mod run;
pub mod supervise;

/// Where a target of that process writes the files that its decoder opens: in memory if there is such a place. Its parent removes it.
#[must_use]
pub fn scratch(process: u32) -> std::path::PathBuf {
    let memory = std::path::Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    base.join(format!("chancery-fuzz-{process}"))
}

/// One decoder and what it is held to.
#[derive(Clone, Copy)]
pub struct Target {
    /// `crate-what`, also the name of its folder of seeds.
    pub name: &'static str,
    /// Decodes and checks; panics when a property does not hold.
    pub run: fn(&[u8]),
    /// Inputs that are good, or nearly so, made by the code that writes the format.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of the format.
    pub tokens: &'static [&'static [u8]],
    /// No input is longer.
    pub bytes_max: usize,
    /// Memory that it may hold whatever the input.
    pub spare_bytes: usize,
}

impl Target {
    /// The usual bounds.
    #[must_use]
    pub const fn new(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Self {
        Self { name, run, seeds, tokens: &[], bytes_max: 4_096, spare_bytes: 1 << 20 }
    }

    /// Words of the format.
    #[must_use]
    pub const fn tokens(self, tokens: &'static [&'static [u8]]) -> Self {
        Self { tokens, ..self }
    }

    /// Longer inputs, or shorter ones.
    #[must_use]
    pub const fn bytes_max(self, bytes_max: usize) -> Self {
        Self { bytes_max, ..self }
    }

    /// More memory, where a bound of the format is what limits it.
    #[must_use]
    pub const fn spare_bytes(self, spare_bytes: usize) -> Self {
        Self { spare_bytes, ..self }
    }

    /// Memory that it may hold for an input.
    #[must_use]
    pub const fn held_bytes_max(&self, input: &[u8]) -> usize {
        self.spare_bytes.saturating_add(input.len().saturating_mul(BYTES_PER_BYTE))
    }
}

/// Memory that each byte of an input may cost: a list of one-byte elements becomes a list of structures.
const BYTES_PER_BYTE: usize = 256;
