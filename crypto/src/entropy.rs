//! The one source of random bytes: the kernel's, through `getrandom(2)`.
//!
//! Only verbs that run before a command is proposed may call it; nothing reachable from `apply` does.

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::{LockedSecret, Secret, SecretBytes, locked::LockError};

/// Fills the buffer.
///
/// # Panics
/// When the kernel has no random bytes to give. `getrandom(2)` cannot fail once the machine has booted, and to go on
/// with predictable keys would be worse than to stop.
#[expect(clippy::expect_used, reason = "a process without random bytes must stop, and getrandom(2) does not fail")]
pub fn fill(buffer: &mut [u8]) {
    system().fill(buffer).expect("the kernel gives random bytes");
}

/// `N` random bytes that are public: salts, ids, nonces.
#[must_use]
pub fn array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// `N` random bytes that are secret, written in place.
#[must_use]
pub fn secret<const N: usize>() -> Secret<N> {
    let mut secret = Secret::zeroed();
    fill(secret.expose_mut());
    secret
}

/// So many random bytes that are secret, written in place.
#[must_use]
pub fn secret_bytes(len: usize) -> SecretBytes {
    let mut secret = SecretBytes::from_vec(vec![0; len]);
    fill(secret.expose_mut());
    secret
}

/// 32 random bytes in locked memory.
///
/// # Errors
/// When no more memory can be locked.
pub fn locked() -> Result<LockedSecret, LockError> {
    LockedSecret::new(secret::<32>().expose())
}

/// For the primitives that draw their own nonces.
#[expect(clippy::disallowed_methods, reason = "this module is the one source that the ban leads to")]
pub(crate) fn system() -> SystemRandom {
    SystemRandom::new()
}

#[cfg(test)]
mod tests {
    #[test]
    fn draws_differ_and_fill_the_whole_buffer() {
        let draws: Vec<[u8; 32]> = (0..64).map(|_| super::array()).collect();
        for (i, one) in draws.iter().enumerate() {
            assert!(draws[i + 1..].iter().all(|other| other != one));
        }
        // 64 draws that all have a zero at one place would be a buffer that is not filled: 2^-512.
        assert!((0..32).all(|at| draws.iter().any(|draw| draw[at] != 0)));
        assert_ne!(super::secret::<32>().expose(), super::secret::<32>().expose());
        let drawn = super::secret_bytes(48);
        assert!(drawn.len() == 48 && drawn.expose() != super::secret_bytes(48).expose());
        assert_ne!(super::locked().expect("locks").expose(), super::locked().expect("locks").expose());
    }
}
