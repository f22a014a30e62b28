//! How a root key goes from one member to another: on the pinned connection, and there in a sealed box for a key that the
//! receiver drew for this one transfer, so that it is in no buffer in clear (docs/spec/seal.md).

use crypto::{Secret, sealed_box};
use types::{ClusterId, NodeId, Reason, Refusal, RootId};

use crate::root::Root;

/// The receiving end of one transfer.
#[derive(Debug)]
pub(crate) struct Recipient {
    private: Secret<32>,
    public: [u8; 32],
}

impl Recipient {
    /// Draws the key.
    ///
    /// # Errors
    /// When the library gives none.
    pub(crate) fn draw() -> Result<Self, Refusal> {
        let private = crypto::entropy::secret::<32>();
        let public = sealed_box::public_of(&private).map_err(|_| malformed("the key for a transfer"))?;
        Ok(Self { private, public })
    }

    /// What the other end seals for.
    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Opens what came, and checks that it is the root key of that name.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn open(&self, cluster: ClusterId, epoch: u32, id: RootId, sealed: &[u8]) -> Result<Root, Refusal> {
        self.open_as(&aad(cluster, epoch, id), epoch, id, sealed)
    }

    /// The same, of a transfer of another kind.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn open_as(&self, aad: &[u8], epoch: u32, id: RootId, sealed: &[u8]) -> Result<Root, Refusal> {
        let opened = sealed_box::open(&self.private, aad, sealed);
        let key = opened.ok().and_then(|bytes| Secret::from_slice(bytes.expose()));
        let key = key.ok_or_else(|| malformed("the root key that a member handed out"))?;
        let root = Root::new(epoch, &key).map_err(|error| Refusal::new(Reason::Internal, error.to_string()))?;
        if root.id == id { Ok(root) } else { Err(malformed("the name of the root key that a member handed out")) }
    }
}

/// A transfer to a voter that has restarted: a box says between whom, so that it opens nothing on another connection.
pub(crate) struct PeerTransfer {
    pub(crate) cluster: ClusterId,
    /// Who hands it out.
    pub(crate) from: NodeId,
    /// Who has asked.
    pub(crate) to: NodeId,
}

impl PeerTransfer {
    /// What its boxes are bound to.
    pub(crate) fn aad(&self, epoch: u32, id: RootId) -> Vec<u8> {
        let Self { cluster, from, to } = self;
        let ends = [from.0.to_be_bytes(), to.0.to_be_bytes()].concat();
        [b"chancery peer unseal v1".as_slice(), &cluster.0, &ends, &epoch.to_be_bytes(), &id.0].concat()
    }

    /// Seals a root key for whoever drew `recipient`.
    ///
    /// # Errors
    /// When that is no public key.
    pub(crate) fn sealed(&self, root: &Root, recipient: &[u8]) -> Result<Vec<u8>, Refusal> {
        let recipient: &[u8; 32] = recipient.try_into().map_err(|_| malformed("`recipient`"))?;
        sealed_box::seal(recipient, &self.aad(root.epoch, root.id), root.dangerous_bytes())
            .map_err(|_| malformed("`recipient`"))
    }
}

/// A transfer of the next root key, as who asks for it names it.
pub(crate) struct Transfer<'a> {
    pub(crate) cluster: ClusterId,
    /// The member that asks.
    pub(crate) to: NodeId,
    pub(crate) epoch: u32,
    pub(crate) id: RootId,
    pub(crate) recipient: &'a [u8],
}

impl Transfer<'_> {
    /// That who asks has the active root key: the identity key alone, which lies in clear on every disk, gets nobody the next.
    pub(crate) fn proof(&self, active: &Root) -> [u8; 32] {
        crypto::mac::hmac_sha256(proving(active).expose(), &[&self.message()])
    }

    /// Whether the proof is one.
    pub(crate) fn is_asked_by_a_holder(&self, active: &Root, proof: &[u8]) -> bool {
        crypto::mac::verify(proving(active).expose(), &[&self.message()], proof).is_ok()
    }

    /// Each part of a fixed length but the last.
    fn message(&self) -> Vec<u8> {
        let Self { cluster, to, epoch, id, recipient } = self;
        [cluster.0.as_slice(), &to.0.to_be_bytes(), &epoch.to_be_bytes(), &id.0, recipient].concat()
    }
}

fn proving(active: &Root) -> Secret<32> {
    active.derive(&[b"root transfer"])
}

/// Seals a root key for whoever drew `recipient`.
///
/// # Errors
/// When that is no public key.
pub(crate) fn sealed(cluster: ClusterId, root: &Root, recipient: &[u8]) -> Result<Vec<u8>, Refusal> {
    let recipient: &[u8; 32] = recipient.try_into().map_err(|_| malformed("`recipient`"))?;
    sealed_box::seal(recipient, &aad(cluster, root.epoch, root.id), root.dangerous_bytes())
        .map_err(|_| malformed("`recipient`"))
}

fn aad(cluster: ClusterId, epoch: u32, id: RootId) -> Vec<u8> {
    [b"chancery root release v1".as_slice(), &cluster.0, &epoch.to_be_bytes(), &id.0].concat()
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(Reason::InvalidArgument, format!("{what} is not what it should be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_root_key_and_one_transfer() {
        let (active, other) = (Root::draw(1).expect("locks"), Root::draw(1).expect("locks"));
        let (cluster, id) = (ClusterId([1; 16]), other.id);
        let transfer = |to, epoch, recipient| Transfer { cluster, to: NodeId(to), epoch, id, recipient };
        let (mine, thiefs) = ([7; 32], [8; 32]);
        let proof = transfer(2, 3, &mine).proof(&active);
        assert!(transfer(2, 3, &mine).is_asked_by_a_holder(&active, &proof));
        assert!(!transfer(2, 3, &mine).is_asked_by_a_holder(&other, &proof));
        for changed in [transfer(3, 3, &mine), transfer(2, 4, &mine), transfer(2, 3, &thiefs)] {
            assert!(!changed.is_asked_by_a_holder(&active, &proof));
        }
        assert!(!transfer(2, 3, &mine).is_asked_by_a_holder(&active, &[]));
    }

    #[test]
    fn a_box_for_a_peer_opens_between_these_two_only() {
        let root = Root::draw(2).expect("locks");
        let receiver = Recipient::draw().expect("draws");
        let between = |from, to| PeerTransfer { cluster: ClusterId([1; 16]), from: NodeId(from), to: NodeId(to) };
        let boxed = between(1, 2).sealed(&root, receiver.public()).expect("seals");
        let open = |transfer: PeerTransfer| receiver.open_as(&transfer.aad(2, root.id), 2, root.id, &boxed);
        assert_eq!(open(between(1, 2)).expect("opens").dangerous_bytes(), root.dangerous_bytes());
        assert!(open(between(3, 2)).is_err() && open(between(1, 3)).is_err());
        assert!(receiver.open(ClusterId([1; 16]), 2, root.id, &boxed).is_err(), "nor as another kind of transfer");
    }

    #[test]
    fn only_the_receiver_opens_it_and_only_as_what_it_is() {
        let (root, other) = (Root::draw(2).expect("locks"), Root::draw(2).expect("locks"));
        let (receiver, thief) = (Recipient::draw().expect("draws"), Recipient::draw().expect("draws"));
        let cluster = ClusterId([1; 16]);
        let boxed = sealed(cluster, &root, receiver.public()).expect("seals");
        assert_eq!(
            receiver.open(cluster, 2, root.id, &boxed).expect("opens").dangerous_bytes(),
            root.dangerous_bytes()
        );
        assert!(thief.open(cluster, 2, root.id, &boxed).is_err());
        assert!(receiver.open(cluster, 3, root.id, &boxed).is_err());
        assert!(receiver.open(cluster, 2, other.id, &boxed).is_err());
        assert!(receiver.open(ClusterId([2; 16]), 2, root.id, &boxed).is_err());
        assert!(sealed(cluster, &root, &[0; 32]).is_err() && sealed(cluster, &root, &[1; 31]).is_err());
        // Another key in the name of the one that was asked for.
        let forged = sealed_box::seal(receiver.public(), &aad(cluster, 2, root.id), other.dangerous_bytes());
        assert!(receiver.open(cluster, 2, root.id, &forged.expect("seals")).is_err());
    }
}
