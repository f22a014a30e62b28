//! argon2id (RFC 9106): a key from a passphrase, at a price that makes guessing dear.

use argon2::{Algorithm, Argon2, Version};

use crate::Secret;

/// Bytes of a salt.
pub const SALT_BYTES: usize = 16;

const MEMORY_KIB: std::ops::RangeInclusive<u32> = 8 * 1_024..=2 * 1_024 * 1_024;
const ITERATIONS: std::ops::RangeInclusive<u32> = 1..=16;
const LANES: std::ops::RangeInclusive<u32> = 1..=16;

/// What one guess costs. Stored beside the salt, so it is bounded on both sides when it is read: a file that was
/// tampered with can ask neither for all memory nor for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Params {
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
}

/// The stored cost is out of its bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("argon2id needs 8 MiB to 2 GiB of memory, 1 to 16 iterations and 1 to 16 lanes")]
pub struct OutOfBounds;

impl Params {
    /// RFC 9106 §4, the second recommended option: 64 MiB, 3 iterations, 4 lanes. The first needs 2 GiB, more than the
    /// small machines that operators unseal from.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 * 1_024, iterations: 3, lanes: 4 };

    /// Checks a stored cost.
    ///
    /// # Errors
    /// When one of the three is out of its bounds.
    pub fn new(memory_kib: u32, iterations: u32, lanes: u32) -> Result<Self, OutOfBounds> {
        let good = MEMORY_KIB.contains(&memory_kib) && ITERATIONS.contains(&iterations) && LANES.contains(&lanes);
        good.then_some(Self { memory_kib, iterations, lanes }).ok_or(OutOfBounds)
    }

    /// The cheapest cost that [`Params::new`] takes, for tests and throw-away clusters.
    #[must_use]
    pub const fn dangerous_cheapest() -> Self {
        Self { memory_kib: 8 * 1_024, iterations: 1, lanes: 1 }
    }

    /// Memory in KiB.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub const fn iterations(self) -> u32 {
        self.iterations
    }

    /// Lanes of memory that can be filled at once.
    #[must_use]
    pub const fn lanes(self) -> u32 {
        self.lanes
    }
}

/// The key of a passphrase. argon2id rather than argon2i or argon2d: it holds against side channels in the first pass
/// and against time-memory trade-offs in the rest (RFC 9106 §4). The salt is 16 random bytes, drawn anew whenever the
/// passphrase is set.
///
/// # Panics
/// Never: the bounds of [`Params`] lie inside argon2's, and a passphrase of 4 GiB does not reach here.
#[must_use]
#[expect(clippy::expect_used, reason = "the bounds of Params lie inside those of argon2")]
pub fn derive(passphrase: &[u8], salt: &[u8; SALT_BYTES], params: Params) -> Secret<32> {
    let Params { memory_kib, iterations, lanes } = params;
    let params = argon2::Params::new(memory_kib, iterations, lanes, Some(32)).expect("bounded parameters");
    let mut key = Secret::zeroed();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, key.expose_mut())
        .expect("bounded parameters, 16-byte salt and 32-byte key");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by the reference C implementation: `argon2.low_level.hash_secret_raw` of argon2-cffi.
    #[test]
    fn agrees_with_the_reference_implementation() {
        let key = derive(b"correct horse", b"0123456789abcdef", Params::new(8_192, 2, 4).expect("in bounds"));
        assert_eq!(hex::encode(key.expose()), "8962af270f4a84793bf021aa33a45a7cca774dbd4bc4e522785a439e0a0110c0");
    }

    #[test]
    fn passphrase_salt_and_cost_all_matter() {
        let cheap = Params::dangerous_cheapest();
        let key = derive(b"a", &[0; 16], cheap);
        assert_ne!(key.expose(), derive(b"b", &[0; 16], cheap).expose());
        assert_ne!(key.expose(), derive(b"a", &[1; 16], cheap).expose());
        assert_ne!(key.expose(), derive(b"a", &[0; 16], Params::new(8_192, 2, 1).expect("in bounds")).expose());
    }

    #[test]
    fn a_stored_cost_is_bounded_on_both_sides() {
        for (m, t, p) in [(8_191, 1, 1), (2 * 1_024 * 1_024 + 1, 1, 1), (8_192, 0, 1), (8_192, 17, 1), (8_192, 1, 0)] {
            assert_eq!(Params::new(m, t, p), Err(OutOfBounds));
        }
        let params = Params::RECOMMENDED;
        assert_eq!(Params::new(params.memory_kib(), params.iterations(), params.lanes()), Ok(params));
        assert!(Params::new(8_192, 1, 17).is_err());
    }
}
