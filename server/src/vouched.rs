//! What a member's call carries: the names of both ends, and evidence that the caller has the root key.
//!
//! A member's identity key lies in clear on its disk, so that it can be told from a dead one while it is sealed. Whoever has
//! copied that disk therefore passes the peer port's TLS; without the root key it may say hello and nothing else
//! (docs/spec/seal.md).

use std::sync::Arc;

use raft::{Names, ROOT_PROOF, Vouch};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Response, Status};
use types::NodeId;

use crate::keyring::Keyring;

/// What members show one another with Raft's own messages, and with the answers to them.
pub(crate) struct RootProof {
    pub(crate) own: NodeId,
    pub(crate) keyring: Arc<Keyring>,
}

impl Vouch for RootProof {
    fn prove(&self, to: NodeId) -> String {
        self.keyring.member_proof(self.own, to)
    }

    fn check(&self, from: NodeId, proof: &str) -> bool {
        self.keyring.is_member_proof(from, self.own, proof)
    }
}

/// Writes names and evidence into each request.
#[derive(Clone, Debug)]
pub(crate) struct Vouched {
    names: Names,
    proof: String,
}

impl Vouched {
    /// For calls under these names, by whoever has these root keys.
    pub(crate) fn new(names: Names, keyring: &Keyring) -> Self {
        Self { proof: keyring.member_proof(names.from, names.to), names }
    }
}

impl Interceptor for Vouched {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let mut request = self.names.call(request)?;
        put(request.metadata_mut(), &self.proof);
        Ok(request)
    }
}

/// Writes evidence into an answer of one member to another.
pub(crate) fn vouch_for<T>(answer: &mut Response<T>, from: NodeId, to: NodeId, keyring: &Keyring) {
    put(answer.metadata_mut(), &keyring.member_proof(from, to));
}

fn put(metadata: &mut MetadataMap, proof: &str) {
    // Hexadecimal digits and commas are always valid metadata.
    if let Ok(mut proof) = MetadataValue::try_from(proof) {
        proof.set_sensitive(true);
        metadata.insert(ROOT_PROOF, proof);
    }
}

/// Whether a request, or an answer, under these names was made by a holder of one of these root keys.
pub(crate) fn is_by_a_holder(metadata: &MetadataMap, names: Names, keyring: &Keyring) -> bool {
    let proof = metadata.get(ROOT_PROOF).and_then(|value| value.to_str().ok());
    proof.is_some_and(|proof| keyring.is_member_proof(names.from, names.to, proof))
}

#[cfg(test)]
mod tests {
    use types::{ClusterId, NodeId};

    use super::*;
    use crate::root::Root;

    fn keyring(roots: impl IntoIterator<Item = (u32, u8)>) -> Keyring {
        let root = |(epoch, byte)| Root::new(epoch, &crypto::Secret::from_bytes([byte; 32])).expect("locks");
        Keyring::new(ClusterId([1; 16]), roots.into_iter().map(root))
    }

    fn names(from: u64, to: u64) -> Names {
        Names { cluster: ClusterId([1; 16]), from: NodeId(from), to: NodeId(to) }
    }

    #[test]
    fn who_has_a_root_key_of_the_cluster_is_believed_and_nobody_else() {
        let call = |names, keyring: &Keyring| Vouched::new(names, keyring).call(Request::new(())).expect("passes");
        let (ours, next, theirs) = (keyring([(1, 1)]), keyring([(1, 1), (2, 2)]), keyring([(1, 3)]));
        let made = call(names(1, 2), &ours);
        assert!(is_by_a_holder(made.metadata(), names(1, 2), &ours));
        assert!(is_by_a_holder(made.metadata(), names(1, 2), &next), "a root key is on its way");
        assert!(is_by_a_holder(call(names(1, 2), &next).metadata(), names(1, 2), &ours), "or has not come yet");
        for (from, to) in [(2, 2), (1, 1), (2, 1)] {
            assert!(!is_by_a_holder(made.metadata(), names(from, to), &ours), "from {from} to {to}");
        }
        assert!(!is_by_a_holder(made.metadata(), names(1, 2), &theirs));
        assert!(!is_by_a_holder(Request::new(()).metadata(), names(1, 2), &ours));
    }
}
