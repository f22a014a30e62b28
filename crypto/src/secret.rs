//! Secrets in ordinary memory: wiped on drop, printed redacted, never cloned.
//!
//! For short-lived values. Keys that stay in memory belong in [`crate::LockedSecret`], which the kernel neither swaps nor
//! dumps.

use zeroize::{Zeroize, Zeroizing};

/// `N` secret bytes. Boxed, so that moving it leaves no copy behind on the stack.
pub struct Secret<const N: usize>(Box<Zeroizing<[u8; N]>>);

/// Secret bytes of any length.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl<const N: usize> Secret<N> {
    /// Takes the bytes and wipes the array it was handed; a copy that the caller kept is the caller's to wipe.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; N]) -> Self {
        let mut secret = Self::zeroed();
        secret.0.copy_from_slice(&bytes);
        bytes.zeroize();
        secret
    }

    /// Copies exactly `N` bytes; `None` when there are more or fewer.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; N] = bytes.try_into().ok()?;
        let mut secret = Self::zeroed();
        secret.0.copy_from_slice(bytes);
        Some(secret)
    }

    /// The bytes. Whoever calls this promises not to copy them to where they are not wiped.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Room to be filled in place, so that no copy is left on the way.
    pub(crate) fn zeroed() -> Self {
        Self(Box::new(Zeroizing::new([0; N])))
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl SecretBytes {
    /// Takes the vector. Room it had left behind by growing is not wiped: give it its capacity first.
    #[must_use]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// No bytes yet, and room for `capacity` of them.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Appends the bytes. Past the capacity they all move to a larger room and the old one is wiped.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let len = self.len().saturating_add(bytes.len());
        if len > self.0.capacity() {
            let mut larger = Vec::with_capacity(len.max(self.0.capacity().saturating_mul(2)));
            larger.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(bytes);
    }

    /// Wipes the bytes and keeps the room.
    pub fn wipe(&mut self) {
        self.0.zeroize();
    }

    /// Wipes and drops the bytes past the first `len`.
    pub fn truncate(&mut self, len: usize) {
        if let Some(rest) = self.0.get_mut(len..) {
            rest.zeroize();
        }
        self.0.truncate(len);
    }

    /// The bytes. Whoever calls this promises not to copy them to where they are not wiped.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The vector, which is no longer wiped: only for the message that carries the plaintext to its owner.
    #[must_use]
    pub fn dangerous_into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.0)
    }
}

impl<const N: usize> std::fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret<{N}>(redacted)")
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretBytes({} bytes, redacted)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_byte() {
        let fixed = format!("{:?}", Secret::from_bytes([0xab; 32]));
        let any = format!("{:?}", SecretBytes::from_vec(vec![0xab; 3]));
        assert_eq!(fixed, "Secret<32>(redacted)");
        assert_eq!(any, "SecretBytes(3 bytes, redacted)");
    }

    #[test]
    fn a_secret_grows_by_moving_and_keeps_its_room_when_wiped() {
        let mut secret = SecretBytes::with_capacity(4);
        secret.extend_from_slice(b"abcd");
        secret.extend_from_slice(b"efghi");
        assert_eq!(secret.expose(), b"abcdefghi");
        let room = secret.0.capacity();
        secret.wipe();
        assert!(secret.is_empty() && secret.0.capacity() == room);
    }

    #[test]
    fn only_the_exact_length_is_taken() {
        assert!(Secret::<32>::from_slice(&[1; 31]).is_none());
        assert!(Secret::<32>::from_slice(&[1; 33]).is_none());
        assert_eq!(Secret::<32>::from_slice(&[1; 32]).expect("32 bytes").expose(), &[1; 32]);
    }
}
