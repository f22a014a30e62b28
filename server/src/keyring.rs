//! The keys in this node's memory: the root key, namespaces' keys and key-version material, unwrapped on first use.
//!
//! Start-up does not grow with the number of keys, and everything here lies in locked memory that is wiped when the node
//! seals. The keyring does not ask whether a key may be used: its callers have asked state and policy.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crypto::{LockedSecret, Secret, SecretBytes, kdf};
use kms::wrapping::{self, UnderNamespace, UnderRoot};
use kms::{KeyMaterial, WrappingFault};
use types::{ClusterId, NamespaceName, Reason, Refusal, TokenId};

use crate::unwrapped::Unwrapped;

/// The epoch of the root key. Rekeying comes with the seals that need it.
pub(crate) const EPOCH: u32 = 1;

/// The keys of an unsealed node.
pub(crate) struct Keyring {
    cluster: ClusterId,
    root: LockedSecret,
    /// Under which audit records show values that are not for everybody.
    pseudonyms: Secret<32>,
    namespaces: RwLock<BTreeMap<NamespaceName, Arc<LockedSecret>>>,
    unwrapped: Arc<Unwrapped>,
}

impl Keyring {
    /// A keyring over the root key.
    #[must_use]
    pub(crate) fn new(cluster: ClusterId, root: LockedSecret) -> Self {
        let pseudonyms = derive(&root, &[b"audit"]);
        Self { cluster, root, pseudonyms, namespaces: RwLock::default(), unwrapped: Arc::default() }
    }

    /// The material in clear, for the state machine, which knows what was destroyed.
    #[must_use]
    pub(crate) fn unwrapped(&self) -> Arc<Unwrapped> {
        Arc::clone(&self.unwrapped)
    }

    /// The root key, for a node that was just admitted.
    #[must_use]
    pub(crate) fn dangerous_root(&self) -> &LockedSecret {
        &self.root
    }

    /// Draws a namespace's key and wraps it.
    #[must_use]
    pub(crate) fn draw_namespace_key(&self, namespace: &NamespaceName) -> Vec<u8> {
        let kek = crypto::entropy::secret::<32>();
        wrapping::wrap_namespace_key(
            self.root.expose(),
            self.under_root(),
            namespace,
            crypto::entropy::array(),
            kek.expose(),
        )
    }

    /// Draws a version's material and wraps it under its namespace's key.
    ///
    /// # Errors
    /// When the namespace's key does not open.
    pub(crate) fn draw_material(&self, kek_wrapped: &[u8], place: UnderNamespace<'_>) -> Result<Vec<u8>, Refusal> {
        let kek = self.namespace_key(place.namespace, kek_wrapped)?;
        let material = crypto::entropy::secret::<32>();
        Ok(wrapping::wrap_material(kek.expose(), place, crypto::entropy::array(), material.expose()))
    }

    /// A version's material, unwrapped now or before.
    ///
    /// # Errors
    /// When it does not open: damage, or a root key of another cluster. Never the caller's fault.
    pub(crate) fn material(
        &self,
        kek_wrapped: &[u8],
        place: UnderNamespace<'_>,
        wrapped: &[u8],
    ) -> Result<Arc<KeyMaterial>, Refusal> {
        let id = (place.key_id, place.version);
        if let Some(known) = self.unwrapped.get(id) {
            return Ok(known);
        }
        let kek = self.namespace_key(place.namespace, kek_wrapped)?;
        let material = wrapping::unwrap_material(kek.expose(), place, wrapped).map_err(|fault| broken(&fault))?;
        let material = Arc::new(material);
        if !self.unwrapped.keep(id, &material) {
            return Err(Refusal::new(Reason::KeyDestroyed, "this version of the key was destroyed a moment ago"));
        }
        Ok(material)
    }

    /// Wraps the cluster key for state.
    #[must_use]
    pub(crate) fn wrap_cluster_key(&self, pkcs8: &SecretBytes) -> Vec<u8> {
        wrapping::wrap_cluster_key(self.root.expose(), self.under_root(), crypto::entropy::array(), pkcs8)
    }

    /// Opens the cluster key.
    ///
    /// # Errors
    /// When it does not open.
    pub(crate) fn cluster_key(&self, wrapped: &[u8]) -> Result<SecretBytes, Refusal> {
        wrapping::unwrap_cluster_key(self.root.expose(), self.under_root(), wrapped).map_err(|fault| broken(&fault))
    }

    /// The secret half of a join token. Derived, so that a retry of the same request gives the same token although no
    /// secret is stored.
    #[must_use]
    pub(crate) fn token_secret(&self, id: TokenId) -> Secret<32> {
        derive(&self.root, &[b"join token", &id.0])
    }

    /// What a voter's authority keys are sealed under on its own disk.
    #[must_use]
    pub(crate) fn authority_sealing_key(&self) -> Secret<32> {
        derive(&self.root, &[b"authority"])
    }

    /// A stand-in for a value that an audit record must not show: equal values have equal stand-ins.
    #[must_use]
    pub(crate) fn pseudonym(&self, value: &[u8]) -> [u8; 32] {
        crypto::mac::hmac_sha256(self.pseudonyms.expose(), &[value])
    }

    /// A namespace's key, unwrapped now or before.
    ///
    /// # Errors
    /// When it does not open.
    pub(crate) fn namespace_key(
        &self,
        namespace: &NamespaceName,
        wrapped: &[u8],
    ) -> Result<Arc<LockedSecret>, Refusal> {
        if let Some(known) = self.namespaces.read().unwrap_or_else(PoisonError::into_inner).get(namespace) {
            return Ok(Arc::clone(known));
        }
        let kek = wrapping::unwrap_namespace_key(self.root.expose(), self.under_root(), namespace, wrapped);
        let kek = Arc::new(kek.map_err(|fault| broken(&fault))?);
        let mut known = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(namespace.clone(), Arc::clone(&kek));
        Ok(kek)
    }

    const fn under_root(&self) -> UnderRoot {
        UnderRoot { cluster: self.cluster, epoch: EPOCH }
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(redacted)")
    }
}

/// A key of its own for each purpose that the root key has beside wrapping (docs/spec/seal.md).
fn derive(root: &LockedSecret, info: &[&[u8]]) -> Secret<32> {
    kdf::extract_sha512(b"chancery root v1", root.expose()).expand(info)
}

/// The caller learns that it is our fault; the log learns which.
fn broken(fault: &WrappingFault) -> Refusal {
    tracing::error!(%fault, "a stored key does not open");
    Refusal::new(Reason::Internal, "a stored key does not open on this node")
}

#[cfg(test)]
mod tests {
    use types::KeyId;

    use super::*;

    fn keyring(root: &[u8; 32]) -> Keyring {
        Keyring::new(ClusterId([1; 16]), LockedSecret::new(root).expect("locks"))
    }

    #[test]
    fn material_opens_under_the_same_root_and_no_other() {
        let namespace = NamespaceName::default_namespace();
        let place = UnderNamespace {
            namespace: &namespace,
            key_id: KeyId([9; 16]),
            version: 1,
            algorithm: kms::Algorithm::Aes256Gcm,
        };
        let ours = keyring(&[1; 32]);
        let kek = ours.draw_namespace_key(&namespace);
        let wrapped = ours.draw_material(&kek, place).expect("draws");
        assert!(ours.material(&kek, place, &wrapped).is_ok());
        assert!(keyring(&[1; 32]).material(&kek, place, &wrapped).is_ok());
        let other = keyring(&[2; 32]).material(&kek, place, &wrapped).map(drop);
        assert_eq!(other.map_err(|refusal| refusal.reason), Err(Reason::Internal));
    }

    #[test]
    fn a_token_has_one_secret_and_different_tokens_different_ones() {
        let ours = keyring(&[1; 32]);
        let secret = |id| *ours.token_secret(TokenId([id; 16])).expose();
        assert_eq!(secret(1), secret(1));
        assert_ne!(secret(1), secret(2));
        assert_ne!(*keyring(&[2; 32]).token_secret(TokenId([1; 16])).expose(), secret(1));
    }

    #[test]
    fn nothing_prints() {
        assert_eq!(format!("{:?}", keyring(&[1; 32])), "Keyring(redacted)");
    }
}
