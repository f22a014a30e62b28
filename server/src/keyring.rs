//! The keys in this node's memory: the root keys, namespaces' keys and key-version material, unwrapped on first use.
//!
//! Start-up does not grow with the number of keys, and everything here lies in locked memory that is wiped when the node
//! seals. The keyring does not ask whether a key may be used, nor which root key is the active one: its callers have asked
//! state and policy.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crypto::{LockedSecret, Secret, SecretBytes};
use kms::wrapping::{self, UnderNamespace, UnderRoot};
use kms::{Algorithm, KeyMaterial, NewMaterial, WrappedMaterial, WrappingFault};
use types::{ClusterId, NamespaceName, NodeId, Reason, Refusal, RootId, TokenId, limits};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::root::Root;
use crate::unwrapped::Unwrapped;

/// Keys that take long to make and are waited for at once.
const DRAWING_MAX: usize = 8;

/// The keys of an unsealed node.
pub(crate) struct Keyring {
    cluster: ClusterId,
    roots: RwLock<BTreeMap<u32, Arc<Epoch>>>,
    unwrapped: Arc<Unwrapped>,
    /// Held while a key is made that takes long to make.
    drawing: Arc<tokio::sync::Mutex<()>>,
    /// For those who wait for that.
    places: Semaphore,
    /// Turns to use a key for which that takes milliseconds of a processor.
    turns: Arc<Semaphore>,
}

/// One root key and what is asked of it with every record.
struct Epoch {
    root: Arc<Root>,
    /// Under which audit records show values that are not for everybody.
    pseudonyms: Secret<32>,
    /// By which members prove to one another that they have it.
    members: Secret<32>,
}

/// A namespace's key as state has it: wrapped, and under which root key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrappedKek<'a> {
    pub(crate) epoch: u32,
    pub(crate) bytes: &'a [u8],
}

impl Keyring {
    /// A keyring over these root keys.
    #[must_use]
    pub(crate) fn new(cluster: ClusterId, roots: impl IntoIterator<Item = Root>) -> Self {
        let keyring = Self {
            cluster,
            roots: RwLock::default(),
            unwrapped: Arc::default(),
            drawing: Arc::default(),
            places: Semaphore::new(DRAWING_MAX),
            turns: Arc::new(Semaphore::new(
                std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            )),
        };
        for root in roots {
            keyring.learn(Arc::new(root));
        }
        keyring
    }

    /// The material in clear, for the state machine, which knows what was destroyed.
    #[must_use]
    pub(crate) fn unwrapped(&self) -> Arc<Unwrapped> {
        Arc::clone(&self.unwrapped)
    }

    /// Takes another root key, in the place of one of the same epoch that has not become active.
    pub(crate) fn learn(&self, root: Arc<Root>) {
        let epoch = Epoch { pseudonyms: root.derive(&[b"audit"]), members: root.derive(&[b"member"]), root };
        let number = epoch.root.epoch;
        self.roots.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::new(epoch));
    }

    /// Lets a root key go that nothing is left of.
    pub(crate) fn forget(&self, epoch: u32) {
        self.roots.write().unwrap_or_else(PoisonError::into_inner).remove(&epoch);
    }

    /// The root keys, oldest first.
    #[must_use]
    pub(crate) fn roots(&self) -> Vec<Arc<Root>> {
        let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
        roots.values().map(|epoch| Arc::clone(&epoch.root)).collect()
    }

    /// The root key of that epoch and name, if this node has it.
    #[must_use]
    pub(crate) fn named(&self, number: u32, id: RootId) -> Option<Arc<Root>> {
        let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
        roots.get(&number).filter(|epoch| epoch.root.id == id).map(|epoch| Arc::clone(&epoch.root))
    }

    /// The root key of that epoch, whatever its name.
    ///
    /// # Errors
    /// When this node has none: it was opened by a seal that does not know it. Never the caller's fault.
    pub(crate) fn root(&self, number: u32) -> Result<Arc<Root>, Refusal> {
        self.epoch(number).map(|epoch| Arc::clone(&epoch.root))
    }

    fn epoch(&self, number: u32) -> Result<Arc<Epoch>, Refusal> {
        let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
        roots.get(&number).map(Arc::clone).ok_or_else(|| {
            tracing::error!(epoch = number, "this node has no root key of the epoch that is asked for");
            Refusal::new(Reason::Internal, format!("this node has no root key of epoch {number}"))
        })
    }

    /// What shows member `to` that `from` has a root key of this cluster: one text for each that it has, for while one is on
    /// its way they do not have the same.
    #[must_use]
    pub(crate) fn member_proof(&self, from: NodeId, to: NodeId) -> String {
        let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
        let message = self.between(from, to);
        let one = |epoch: &Arc<Epoch>| hex::encode(crypto::mac::hmac_sha256(epoch.members.expose(), &[&message]));
        roots.values().map(one).collect::<Vec<_>>().join(",")
    }

    /// Whether that text is such evidence, of any root key that is here.
    #[must_use]
    pub(crate) fn is_member_proof(&self, from: NodeId, to: NodeId, proof: &str) -> bool {
        let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
        let message = self.between(from, to);
        let given = proof.split(',').take(limits::ROOT_EPOCHS_MAX + 1).filter_map(|text| hex::decode(text).ok());
        let is_one = |given: &[u8]| {
            roots.values().any(|epoch| crypto::mac::verify(epoch.members.expose(), &[&message], given).is_ok())
        };
        given.into_iter().any(|given| is_one(&given))
    }

    fn between(&self, from: NodeId, to: NodeId) -> Vec<u8> {
        [self.cluster.0.as_slice(), &from.0.to_be_bytes(), &to.0.to_be_bytes()].concat()
    }

    /// Draws a namespace's key and wraps it.
    ///
    /// # Errors
    /// When there is no root key of that epoch here.
    pub(crate) fn draw_namespace_key(&self, epoch: u32, namespace: &NamespaceName) -> Result<Vec<u8>, Refusal> {
        let kek = crypto::entropy::secret::<32>();
        self.wrap_namespace_key(epoch, namespace, kek.expose())
    }

    /// Makes material of an algorithm for which that takes long, aside, one at a time.
    ///
    /// # Errors
    /// `LimitExceeded` when too many wait already; when it cannot be made.
    pub(crate) async fn draw_aside(&self, algorithm: Algorithm) -> Result<Arc<NewMaterial>, Refusal> {
        let _place = self.places.try_acquire().map_err(|_| {
            let text = format!("{DRAWING_MAX} keys that take long to make are being made: try again in a few seconds");
            Refusal::new(Reason::LimitExceeded, text)
        })?;
        let turn = Arc::clone(&self.drawing).lock_owned().await;
        // Whoever asked may be gone before it is made: the next one waits all the same.
        let drawn = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            draw(algorithm)
        })
        .await;
        drawn.map_err(|_| Refusal::new(Reason::Internal, "the key could not be made"))?.map(Arc::new)
    }

    /// A turn to use a key for which that takes long: some of the processors are left for everything else. Whoever goes away while it
    /// waits leaves nothing behind.
    ///
    /// # Errors
    /// Never: nobody closes the turns.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        turn.map_err(|_| Refusal::new(Reason::Internal, "the node takes no more work"))
    }

    /// Wraps a version's material under its namespace's key: what was drawn before, or else what is drawn now.
    ///
    /// # Errors
    /// When the namespace's key does not open; `Stale` when nothing was drawn of what takes long to make.
    pub(crate) fn wrap_material(
        &self,
        kek: WrappedKek<'_>,
        place: UnderNamespace<'_>,
        drawn: Option<&NewMaterial>,
    ) -> Result<WrappedMaterial, Refusal> {
        let kek = self.namespace_key(place.namespace, kek)?;
        let wrap = |material: &NewMaterial| WrappedMaterial {
            wrapped: wrapping::wrap_material(kek.expose(), place, crypto::entropy::array(), material.secret.expose()),
            public: material.public.clone(),
        };
        match drawn {
            Some(drawn) => Ok(wrap(drawn)),
            // It would hold up everything else: the key has come to be, or was enabled, since it was looked at.
            None if place.algorithm.is_slow_to_make() => {
                Err(Refusal::new(Reason::Stale, "the key has changed meanwhile: try again"))
            }
            None => draw(place.algorithm).map(|drawn| wrap(&drawn)),
        }
    }

    /// A version's material, unwrapped now or before.
    ///
    /// # Errors
    /// When it does not open: damage, or a root key of another cluster. Never the caller's fault.
    pub(crate) fn material(
        &self,
        kek: WrappedKek<'_>,
        place: UnderNamespace<'_>,
        wrapped: &[u8],
    ) -> Result<Arc<KeyMaterial>, Refusal> {
        let id = (place.key_id, place.version);
        if let Some(known) = self.unwrapped.get(id) {
            return Ok(known);
        }
        let kek = self.namespace_key(place.namespace, kek)?;
        let material = wrapping::unwrap_material(kek.expose(), place, wrapped).map_err(|fault| broken(&fault))?;
        let material = Arc::new(material);
        if !self.unwrapped.keep(place.namespace, id, &material) {
            return Err(Refusal::new(Reason::KeyDestroyed, "this version of the key was destroyed a moment ago"));
        }
        Ok(material)
    }

    /// Wraps a namespace's key again, under the root key of another epoch. It is not kept: most are not in use.
    ///
    /// # Errors
    /// When it does not open, or there is no root key of that epoch here.
    pub(crate) fn rewrap_namespace_key(
        &self,
        kek: WrappedKek<'_>,
        namespace: &NamespaceName,
        to: u32,
    ) -> Result<Vec<u8>, Refusal> {
        let kek = self.open_namespace_key(namespace, kek)?;
        self.wrap_namespace_key(to, namespace, kek.expose())
    }

    /// Wraps the cluster key for state.
    ///
    /// # Errors
    /// When there is no root key of that epoch here.
    pub(crate) fn wrap_cluster_key(&self, epoch: u32, pkcs8: &SecretBytes) -> Result<Vec<u8>, Refusal> {
        let root = self.root(epoch)?;
        let salt = crypto::entropy::array();
        Ok(wrapping::wrap_cluster_key(root.dangerous_bytes(), self.under_root(epoch), salt, pkcs8))
    }

    /// Opens the cluster key.
    ///
    /// # Errors
    /// When it does not open.
    pub(crate) fn cluster_key(&self, epoch: u32, wrapped: &[u8]) -> Result<SecretBytes, Refusal> {
        let root = self.root(epoch)?;
        let opened = wrapping::unwrap_cluster_key(root.dangerous_bytes(), self.under_root(epoch), wrapped);
        opened.map_err(|fault| broken(&fault))
    }

    /// The secret half of a join token. Derived, so that a retry of the same request gives the same token although no
    /// secret is stored.
    ///
    /// # Errors
    /// When there is no root key of that epoch here.
    pub(crate) fn token_secret(&self, epoch: u32, id: TokenId) -> Result<Secret<32>, Refusal> {
        Ok(self.root(epoch)?.derive(&[b"join token", &id.0]))
    }

    /// The secret half of a token that was made under whichever root key this node still has.
    #[must_use]
    pub(crate) fn known_token_secret(&self, id: TokenId, hash: &[u8; 32]) -> Option<Secret<32>> {
        let secrets = self.roots().into_iter().map(|root| root.derive(&[b"join token", &id.0]));
        secrets.into_iter().find(|secret| crypto::hash::sha256(secret.expose()) == *hash)
    }

    /// A stand-in for a value, its parts joined, that an audit record must not show: equal values have equal stand-ins, within an epoch.
    ///
    /// # Errors
    /// When there is no root key of that epoch here.
    pub(crate) fn pseudonym(&self, epoch: u32, parts: &[&[u8]]) -> Result<[u8; 32], Refusal> {
        Ok(crypto::mac::hmac_sha256(self.epoch(epoch)?.pseudonyms.expose(), parts))
    }

    fn wrap_namespace_key(&self, epoch: u32, namespace: &NamespaceName, kek: &[u8; 32]) -> Result<Vec<u8>, Refusal> {
        let root = self.root(epoch)?;
        let salt = crypto::entropy::array();
        Ok(wrapping::wrap_namespace_key(root.dangerous_bytes(), self.under_root(epoch), namespace, salt, kek))
    }

    /// A namespace's key, unwrapped now or before.
    ///
    /// # Errors
    /// When it does not open.
    pub(crate) fn namespace_key(
        &self,
        namespace: &NamespaceName,
        kek: WrappedKek<'_>,
    ) -> Result<Arc<LockedSecret>, Refusal> {
        if let Some(known) = self.unwrapped.namespace_key(namespace) {
            return Ok(known);
        }
        let kek = Arc::new(self.open_namespace_key(namespace, kek)?);
        if !self.unwrapped.keep_namespace_key(namespace, &kek) {
            return Err(Refusal::new(Reason::NamespaceClosed, "this namespace was destroyed a moment ago"));
        }
        Ok(kek)
    }

    fn open_namespace_key(&self, namespace: &NamespaceName, kek: WrappedKek<'_>) -> Result<LockedSecret, Refusal> {
        let WrappedKek { epoch, bytes } = kek;
        let root = self.root(epoch)?;
        let opened = wrapping::unwrap_namespace_key(root.dangerous_bytes(), self.under_root(epoch), namespace, bytes);
        opened.map_err(|fault| broken(&fault))
    }

    const fn under_root(&self, epoch: u32) -> UnderRoot {
        UnderRoot { cluster: self.cluster, epoch }
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(redacted)")
    }
}

fn draw(algorithm: Algorithm) -> Result<NewMaterial, Refusal> {
    NewMaterial::draw(algorithm).map_err(|_| {
        tracing::error!(%algorithm, "a key could not be made");
        Refusal::new(Reason::Internal, "the key could not be made")
    })
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

    fn root(epoch: u32, bytes: &[u8; 32]) -> Root {
        Root::new(epoch, &Secret::from_bytes(*bytes)).expect("locks")
    }

    fn keyring(bytes: &[u8; 32]) -> Keyring {
        Keyring::new(ClusterId([1; 16]), [root(1, bytes)])
    }

    fn place(namespace: &NamespaceName) -> UnderNamespace<'_> {
        UnderNamespace { namespace, key_id: KeyId([9; 16]), version: 1, algorithm: kms::Algorithm::Aes256Gcm }
    }

    #[test]
    fn material_opens_under_the_same_root_and_no_other() {
        let namespace = NamespaceName::default_namespace();
        let place = place(&namespace);
        let ours = keyring(&[1; 32]);
        let kek = ours.draw_namespace_key(1, &namespace).expect("draws");
        let kek = WrappedKek { epoch: 1, bytes: &kek };
        let wrapped = ours.wrap_material(kek, place, None).expect("draws").wrapped;
        assert!(ours.material(kek, place, &wrapped).is_ok());
        assert!(keyring(&[1; 32]).material(kek, place, &wrapped).is_ok());
        let reason = |outcome: Result<_, Refusal>| outcome.map(drop).map_err(|refusal| refusal.reason);
        assert_eq!(reason(keyring(&[2; 32]).material(kek, place, &wrapped)), Err(Reason::Internal));
        let elsewhere = WrappedKek { epoch: 2, ..kek };
        assert_eq!(reason(keyring(&[1; 32]).material(elsewhere, place, &wrapped)), Err(Reason::Internal));
    }

    #[test]
    fn a_namespace_key_that_was_wrapped_again_opens_what_it_opened() {
        let namespace = NamespaceName::default_namespace();
        let place = place(&namespace);
        let ours = keyring(&[1; 32]);
        let old = ours.draw_namespace_key(1, &namespace).expect("draws");
        let old = WrappedKek { epoch: 1, bytes: &old };
        let wrapped = ours.wrap_material(old, place, None).expect("draws").wrapped;
        assert!(ours.rewrap_namespace_key(old, &namespace, 2).is_err(), "no such root key yet");
        ours.learn(Arc::new(root(2, &[2; 32])));
        let new = ours.rewrap_namespace_key(old, &namespace, 2).expect("wraps");
        let new = WrappedKek { epoch: 2, bytes: &new };
        let later = Keyring::new(ClusterId([1; 16]), [root(2, &[2; 32])]);
        assert!(later.material(new, place, &wrapped).is_ok());
        assert!(later.material(old, place, &wrapped).is_ok(), "unwrapped already");
        assert!(Keyring::new(ClusterId([1; 16]), [root(2, &[2; 32])]).material(old, place, &wrapped).is_err());
    }

    #[test]
    fn a_token_has_one_secret_and_different_tokens_different_ones() {
        let ours = keyring(&[1; 32]);
        let secret = |id| *ours.token_secret(1, TokenId([id; 16])).expect("derives").expose();
        assert_eq!(secret(1), secret(1));
        assert_ne!(secret(1), secret(2));
        assert_ne!(*keyring(&[2; 32]).token_secret(1, TokenId([1; 16])).expect("derives").expose(), secret(1));
        // Whichever epoch it was made in, for as long as that is here.
        let hash = crypto::hash::sha256(&secret(1));
        ours.learn(Arc::new(root(2, &[2; 32])));
        assert!(ours.known_token_secret(TokenId([1; 16]), &hash).is_some());
        ours.forget(1);
        assert!(ours.known_token_secret(TokenId([1; 16]), &hash).is_none());
    }

    #[test]
    fn nothing_prints() {
        assert_eq!(format!("{:?}", keyring(&[1; 32])), "Keyring(redacted)");
    }
}
