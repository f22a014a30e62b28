//! Root key → namespace key → key-version material: what is wrapped under what, and where it belongs
//! (`docs/spec/wrapping.md`).

use crypto::{LockedSecret, SecretBytes, Unverified, locked::LockError, wrap};
use types::{ClusterId, KeyId, NamespaceName};

use crate::{Algorithm, KeyMaterial};

/// A stored secret did not open, or there was no room to hold it. Never the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum WrappingFault {
    /// The stored bytes are damaged, belong elsewhere, or the key above them is the wrong one.
    #[error("a wrapped key does not open under its parent: the stored state or the root key is wrong")]
    DoesNotOpen,
    /// No more memory can be locked.
    #[error(transparent)]
    NoLockedMemory(#[from] LockError),
}

/// Where a key that the root key wraps belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnderRoot {
    /// The cluster.
    pub cluster: ClusterId,
    /// The epoch of the root key.
    pub epoch: u32,
}

/// Where key-version material belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnderNamespace<'a> {
    /// The namespace whose key wraps it.
    pub namespace: &'a NamespaceName,
    /// The key.
    pub key_id: KeyId,
    /// The version.
    pub version: u32,
    /// What the material is for.
    pub algorithm: Algorithm,
}

/// Wraps a namespace's key-encryption key under the root key; the salt is fresh random bytes.
#[must_use]
pub fn wrap_namespace_key(
    root: &[u8; 32],
    place: UnderRoot,
    namespace: &NamespaceName,
    salt: [u8; 32],
    kek: &[u8; 32],
) -> Vec<u8> {
    wrapped(root, salt, &namespace_key_aad(place, namespace), kek)
}

/// Opens a namespace's key-encryption key into locked memory.
///
/// # Errors
/// When it does not open, or no memory can be locked.
pub fn unwrap_namespace_key(
    root: &[u8; 32],
    place: UnderRoot,
    namespace: &NamespaceName,
    wrapped: &[u8],
) -> Result<LockedSecret, WrappingFault> {
    locked(&wrap::unwrap(root, &namespace_key_aad(place, namespace), wrapped)?)
}

/// Wraps the cluster identity key (PKCS#8) under the root key; the salt is fresh random bytes.
#[must_use]
pub fn wrap_cluster_key(root: &[u8; 32], place: UnderRoot, salt: [u8; 32], pkcs8: &SecretBytes) -> Vec<u8> {
    wrapped(root, salt, &root_aad(CLUSTER_KEY, place), pkcs8.expose())
}

/// Opens the cluster identity key (PKCS#8).
///
/// # Errors
/// When it does not open.
pub fn unwrap_cluster_key(root: &[u8; 32], place: UnderRoot, wrapped: &[u8]) -> Result<SecretBytes, WrappingFault> {
    Ok(wrap::unwrap(root, &root_aad(CLUSTER_KEY, place), wrapped)?)
}

/// Wraps the material of a key version under its namespace's key; the salt is fresh random bytes.
#[must_use]
pub fn wrap_material(kek: &[u8; 32], place: UnderNamespace<'_>, salt: [u8; 32], material: &[u8]) -> Vec<u8> {
    wrapped(kek, salt, &material_aad(place), material)
}

/// Opens the material of a key version into locked memory.
///
/// # Errors
/// When it does not open, or no memory can be locked.
pub fn unwrap_material(
    kek: &[u8; 32],
    place: UnderNamespace<'_>,
    wrapped: &[u8],
) -> Result<KeyMaterial, WrappingFault> {
    let secret = wrap::unwrap(kek, &material_aad(place), wrapped)?;
    KeyMaterial::new(place.key_id, place.version, place.algorithm, secret.expose())
}

const NAMESPACE_KEY: &[u8] = b"chancery namespace key v1";
const CLUSTER_KEY: &[u8] = b"chancery cluster identity key v1";
const KEY_MATERIAL: &[u8] = b"chancery key material v1";

fn root_aad(label: &[u8], place: UnderRoot) -> Vec<u8> {
    let UnderRoot { cluster, epoch } = place;
    [label, &cluster.0, &epoch.to_be_bytes()].concat()
}

fn namespace_key_aad(place: UnderRoot, namespace: &NamespaceName) -> Vec<u8> {
    [root_aad(NAMESPACE_KEY, place), length_prefixed(namespace)].concat()
}

fn material_aad(place: UnderNamespace<'_>) -> Vec<u8> {
    let UnderNamespace { namespace, key_id, version, algorithm } = place;
    let namespace = length_prefixed(namespace);
    [KEY_MATERIAL, &namespace, &key_id.0, &version.to_be_bytes(), &[algorithm.number()]].concat()
}

fn length_prefixed(namespace: &NamespaceName) -> Vec<u8> {
    let bytes = namespace.as_str().as_bytes();
    // A namespace name has at most 63 bytes.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes(), bytes].concat()
}

#[expect(clippy::expect_used, reason = "fails only above 64 GiB, and keys have at most some hundred bytes")]
fn wrapped(kek: &[u8; 32], salt: [u8; 32], aad: &[u8], secret: &[u8]) -> Vec<u8> {
    wrap::wrap(kek, salt, aad, secret).expect("a key is shorter than 64 GiB")
}

fn locked(secret: &SecretBytes) -> Result<LockedSecret, WrappingFault> {
    let bytes = secret.expose().try_into().map_err(|_| WrappingFault::DoesNotOpen)?;
    Ok(LockedSecret::new(bytes)?)
}

impl From<Unverified> for WrappingFault {
    fn from(Unverified: Unverified) -> Self {
        Self::DoesNotOpen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: [u8; 32] = [1; 32];
    const SALT: [u8; 32] = [2; 32];
    const PLACE: UnderRoot = UnderRoot { cluster: ClusterId([3; 16]), epoch: 1 };

    fn ns(text: &str) -> NamespaceName {
        NamespaceName::parse(text).expect("a name")
    }

    #[test]
    fn a_namespace_key_opens_only_in_its_cluster_epoch_and_namespace() {
        let wrapped = wrap_namespace_key(&ROOT, PLACE, &ns("pay"), SALT, &[9; 32]);
        let open = |root: &[u8; 32], place, name: &str| unwrap_namespace_key(root, place, &ns(name), &wrapped);
        assert_eq!(open(&ROOT, PLACE, "pay").expect("opens").expose(), &[9; 32]);
        assert!(open(&[4; 32], PLACE, "pay").is_err());
        assert!(open(&ROOT, UnderRoot { cluster: ClusterId([4; 16]), ..PLACE }, "pay").is_err());
        assert!(open(&ROOT, UnderRoot { epoch: 2, ..PLACE }, "pay").is_err());
        assert!(open(&ROOT, PLACE, "pax").is_err());
        assert!(unwrap_cluster_key(&ROOT, PLACE, &wrapped).is_err());
    }

    #[test]
    fn the_cluster_key_comes_back_whole() {
        let pkcs8 = SecretBytes::from_vec(vec![5; 138]);
        let wrapped = wrap_cluster_key(&ROOT, PLACE, SALT, &pkcs8);
        assert_eq!(unwrap_cluster_key(&ROOT, PLACE, &wrapped).expect("opens").expose(), pkcs8.expose());
        assert!(unwrap_cluster_key(&ROOT, UnderRoot { epoch: 9, ..PLACE }, &wrapped).is_err());
    }

    #[test]
    fn material_opens_only_as_the_version_it_was_wrapped_for() {
        let (pay, other) = (ns("pay"), ns("other"));
        let place =
            UnderNamespace { namespace: &pay, key_id: KeyId([6; 16]), version: 4, algorithm: Algorithm::Aes256Gcm };
        let wrapped = wrap_material(&ROOT, place, SALT, &[9; 32]);
        let material = unwrap_material(&ROOT, place, &wrapped).expect("opens");
        assert_eq!((material.expose(), material.version(), material.key_id()), (&[9; 32][..], 4, KeyId([6; 16])));
        for elsewhere in [
            UnderNamespace { namespace: &other, ..place },
            UnderNamespace { key_id: KeyId([7; 16]), ..place },
            UnderNamespace { version: 5, ..place },
            UnderNamespace { algorithm: Algorithm::ChaCha20Poly1305, ..place },
        ] {
            assert!(unwrap_material(&ROOT, elsewhere, &wrapped).is_err());
        }
        assert!(!format!("{material:?}").contains('9'), "material prints redacted");
    }

    #[test]
    fn aads_are_as_specified() {
        let place = UnderNamespace {
            namespace: &ns("ab"),
            key_id: KeyId([6; 16]),
            version: 0x0102,
            algorithm: Algorithm::Aes256Gcm,
        };
        let expected = [b"chancery key material v1", &[0, 0, 0, 2][..], b"ab", &[6; 16], &[0, 0, 1, 2], &[0]].concat();
        assert_eq!(material_aad(place), expected);
        let expected = [b"chancery namespace key v1", &[3; 16][..], &[0, 0, 0, 1], &[0, 0, 0, 2], b"ab"].concat();
        assert_eq!(namespace_key_aad(PLACE, &ns("ab")), expected);
    }
}
