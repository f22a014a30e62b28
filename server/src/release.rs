//! How a root key goes from one member to another: on the pinned connection, and there in a sealed box for a key that the
//! receiver drew for this one transfer, so that it is in no buffer in clear (docs/spec/seal.md).

use crypto::{Secret, sealed_box};
use types::{ClusterId, Reason, Refusal, RootId};

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
        let opened = sealed_box::open(&self.private, &aad(cluster, epoch, id), sealed);
        let key = opened.ok().and_then(|bytes| Secret::from_slice(bytes.expose()));
        let key = key.ok_or_else(|| malformed("the root key that a member handed out"))?;
        let root = Root::new(epoch, &key).map_err(|error| Refusal::new(Reason::Internal, error.to_string()))?;
        if root.id == id { Ok(root) } else { Err(malformed("the name of the root key that a member handed out")) }
    }
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
