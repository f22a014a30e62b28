//! A root key with its number and its public name (docs/spec/seal.md).

use crypto::kdf::{self, Prk};
use crypto::locked::LockError;
use crypto::{LockedSecret, Secret};
use types::{RootId, limits};

/// The epoch of the first root key.
pub(crate) const FIRST_EPOCH: u32 = 1;

/// A root key.
#[derive(Debug)]
pub(crate) struct Root {
    /// Which in the order of root keys.
    pub epoch: u32,
    /// Tells it from others.
    pub id: RootId,
    key: LockedSecret,
}

impl Root {
    /// Draws one.
    ///
    /// # Errors
    /// When no memory can be locked for it.
    pub(crate) fn draw(epoch: u32) -> Result<Self, LockError> {
        Ok(Self::of(epoch, crypto::entropy::locked()?))
    }

    /// Puts one into locked memory that came from elsewhere.
    ///
    /// # Errors
    /// When no memory can be locked for it.
    pub(crate) fn new(epoch: u32, key: &Secret<32>) -> Result<Self, LockError> {
        Ok(Self::of(epoch, LockedSecret::new(key.expose())?))
    }

    /// Names a key that is in locked memory already.
    pub(crate) fn of(epoch: u32, key: LockedSecret) -> Self {
        let name = prk(&key).expand(&[b"root id"]);
        let id = RootId(name.expose().first_chunk::<16>().copied().unwrap_or_default());
        Self { epoch, id, key }
    }

    /// The bytes, to wrap or to be sealed.
    pub(crate) fn dangerous_bytes(&self) -> &[u8; 32] {
        self.key.expose()
    }

    /// A key of its own for each purpose that the root key has beside wrapping.
    #[must_use]
    pub(crate) fn derive(&self, info: &[&[u8]]) -> Secret<32> {
        prk(&self.key).expand(info)
    }
}

/// The number after the highest of these, unless there are as many as there may be.
pub(crate) fn has_room(held: usize) -> bool {
    held < limits::ROOT_EPOCHS_MAX
}

fn prk(key: &LockedSecret) -> Prk {
    kdf::extract_sha512(b"chancery root v1", key.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_has_one_name_and_the_name_is_not_the_key() {
        let key = crypto::entropy::secret::<32>();
        let (one, again) = (Root::new(1, &key).expect("locks"), Root::new(2, &key).expect("locks"));
        assert_eq!(one.id, again.id);
        assert_ne!(one.id, Root::draw(1).expect("locks").id);
        assert!(!key.expose().windows(8).any(|part| one.id.0.windows(8).any(|name| name == part)));
        assert!(!format!("{one:?}").contains(&hex::encode(key.expose())));
    }
}
