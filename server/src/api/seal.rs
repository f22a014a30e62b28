//! `SealService`: all that a sealed node offers beside health.
//!
//! Unsealing needs no credential, because a sealed node cannot look one up: it needs the passphrase. Guesses are made one
//! at a time, each at the price of argon2id.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use audit::Detail;
use proto::cluster::v1 as wire;
use proto::cluster::v1::seal_service_server::SealService;
use tonic::{Request, Response, Status};
use types::{Action, Principal, Reason, Refusal};

use super::Api;
use crate::config::SealKind;
use crate::core::StateView;
use crate::formation::{self, Brought};
use crate::net::ApiConnection;
use crate::node::{Node, Phase};
use crate::peer_unseal::by_hand;
use crate::recovery;
use crate::request::authn::Caller;
use crate::request::mutation;
use crate::request::query::{self, Consistency, Query};
use crate::request::target::Target;
use crate::seal;
use crate::wire::status::status;

#[tonic::async_trait]
impl SealService for Api {
    async fn unseal(&self, request: Request<wire::UnsealRequest>) -> Result<Response<wire::SealStatus>, Status> {
        let over_network = request.extensions().get::<ApiConnection>().is_some();
        if over_network {
            let brings_nothing = request.get_ref().passphrase.is_empty() && request.get_ref().share.is_empty();
            check_remote(&self.node, brings_nothing).map_err(|refusal| status(&refusal))?;
        }
        // Guesses are refused, not queued: a queue would outlive those who fill it and hold up the operator.
        let places = if over_network { &self.node.remote_unseal } else { &self.node.local_unseal };
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| {
            status(&Refusal::new(Reason::LimitExceeded, "another unseal is being tried: try again in a moment"))
        })?;
        let by = if over_network { Principal::Unauthenticated } else { Principal::LocalAdmin };
        let wire::UnsealRequest { passphrase, share } = request.into_inner();
        let (passphrase, share) =
            (crypto::SecretBytes::from_vec(passphrase), crypto::SecretBytes::from_vec(share.into_bytes()));
        let brought = if share.is_empty() { Brought::Passphrase(passphrase) } else { Brought::Share(share) };
        let node = Arc::clone(&self.node);
        // It goes on when the caller goes away: half an opening would hold the log and serve nothing.
        let unsealing = tokio::spawn(async move {
            let _place = place;
            formation::unseal(&node, brought, by).await
        });
        let unsealed = unsealing.await.unwrap_or_else(|error| Err(formation::internal(&error)));
        unsealed.map_err(|refusal| status(&refusal))?;
        Ok(Response::new(seal_status(&self.node)))
    }

    /// The record of this call is written by the core that is about to close, so closing comes after it.
    async fn seal(&self, request: Request<wire::SealRequest>) -> Result<Response<wire::SealStatus>, Status> {
        let node = Arc::clone(&self.node);
        // One task: a caller that goes away after the record was written does not leave the node open.
        let sealing = tokio::spawn(async move {
            let answer = query::serve(&node, request).await?;
            let stays = by_hand::about_to_seal(&node).await;
            tokio::spawn(async move {
                if let Err(refusal) = formation::seal_node(&node).await {
                    tracing::error!(%refusal, "the node could not be sealed");
                }
            });
            stays.map_err(|refusal| status(&refusal))?;
            Ok(answer)
        });
        sealing.await.unwrap_or_else(|error| Err(status(&formation::internal(&error))))
    }

    /// Public: health says the same.
    async fn get_status(
        &self,
        _request: Request<wire::GetSealStatusRequest>,
    ) -> Result<Response<wire::SealStatus>, Status> {
        Ok(Response::new(seal_status(&self.node)))
    }

    async fn add_seal(&self, request: Request<wire::AddSealRequest>) -> Result<Response<wire::SealStatus>, Status> {
        to_its_end(&self.node, request).await
    }

    async fn drop_seal(&self, request: Request<wire::DropSealRequest>) -> Result<Response<wire::SealStatus>, Status> {
        to_its_end(&self.node, request).await
    }

    /// On the node's own socket only: it takes a machine and a seal, and from afar it would be an invitation to guess.
    async fn recover_operator(
        &self,
        request: Request<wire::RecoverOperatorRequest>,
    ) -> Result<Response<wire::RecoverOperatorResponse>, Status> {
        if request.extensions().get::<ApiConnection>().is_some() {
            let text = "an operator is recovered on the machine of a node only: `chancery operator recover --socket \
                        DATA_DIR/admin.sock`";
            return Err(status(&Refusal::new(Reason::PermissionDenied, text)));
        }
        let place = Arc::clone(&self.node.local_unseal).try_acquire_owned().map_err(|_| {
            status(&Refusal::new(
                Reason::LimitExceeded,
                "a seal of this node is just being tried: try again in a moment",
            ))
        })?;
        let (node, request) = (Arc::clone(&self.node), request.into_inner());
        // It goes on when the caller goes away, or the next guess would not wait for the end of this one.
        let recovering = tokio::spawn(async move {
            let _place = place;
            recovery::recover(&node, request).await
        });
        let recovered = recovering.await.unwrap_or_else(|error| Err(formation::internal(&error)));
        recovered.map(Response::new).map_err(|refusal| status(&refusal))
    }

    async fn set_peer_unseal(
        &self,
        request: Request<wire::SetPeerUnsealRequest>,
    ) -> Result<Response<wire::SetPeerUnsealResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn approve_unseal(
        &self,
        request: Request<wire::ApproveUnsealRequest>,
    ) -> Result<Response<wire::ApproveUnsealResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn cancel_approval(
        &self,
        request: Request<wire::CancelApprovalRequest>,
    ) -> Result<Response<wire::CancelApprovalResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn rekey(&self, request: Request<wire::RekeyRequest>) -> Result<Response<wire::RootKey>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn cancel_rekey(
        &self,
        request: Request<wire::CancelRekeyRequest>,
    ) -> Result<Response<wire::RootKey>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn get_root_key(&self, request: Request<wire::GetRootKeyRequest>) -> Result<Response<wire::RootKey>, Status> {
        query::serve(&self.node, request).await
    }
}

/// In a task of its own: a caller that goes away meanwhile leaves no seal on the disk that is in no record, and none there that
/// the node believes to be gone.
async fn to_its_end<Q: Query<Answer: 'static> + 'static>(
    node: &Arc<Node>,
    request: Request<Q>,
) -> Result<Response<Q::Answer>, Status> {
    let node = Arc::clone(node);
    let serving = tokio::spawn(async move { query::serve(&node, request).await });
    serving.await.unwrap_or_else(|error| Err(status(&formation::internal(&error))))
}

/// Whether seals of these kinds would open for whoever asks: a file and a token want nothing from the caller, and who that is is
/// known only on the node's own machine.
fn opens_for_anybody<'a>(kinds: impl IntoIterator<Item = &'a str>, brings_nothing: bool) -> bool {
    let mut wants_nothing = kinds.into_iter().map(|kind| matches!(kind, "file" | "pkcs11"));
    if brings_nothing { wants_nothing.any(|nothing| nothing) } else { wants_nothing.all(|nothing| nothing) }
}

/// What may be unsealed from afar: a node whose seal asks the caller for something that only its operator knows.
fn check_remote(node: &Node, brings_nothing: bool) -> Result<(), Refusal> {
    let record = seal::read(&node.folder).ok().flatten();
    let by_itself = record
        .as_ref()
        .is_some_and(|record| opens_for_anybody(record.slots().iter().map(|slot| slot.seal_type()), brings_nothing));
    let text = match (node.phase(), by_itself) {
        (Phase::Admitted(_), _) => {
            "this node has no seal yet: choose its passphrase on its own socket, \
             `chancery seal unseal --socket DATA_DIR/admin.sock`"
        }
        (Phase::Sealed(_), true) => {
            "the seals `file` and `pkcs11` ask for nothing, so by them this node is unsealed on its own machine only: \
             `chancery seal unseal --socket DATA_DIR/admin.sock`, or start it again"
        }
        _ => return Ok(()),
    };
    Err(Refusal::new(Reason::PermissionDenied, text))
}

pub(super) fn seal_status(node: &Arc<Node>) -> wire::SealStatus {
    let (sealed, initialized, number) = match node.phase() {
        Phase::Empty => (false, false, 0),
        Phase::Admitted(membership) | Phase::Sealed(membership) => (true, true, membership.node().0),
        Phase::Open(core) => (false, true, core.node.0),
        Phase::Removed(id) => (true, true, id.0),
    };
    let record = seal::read(&node.folder).ok().flatten();
    let quorum = record.as_ref().filter(|_| sealed).and_then(|record| record.quorum());
    let given = quorum
        .map(|quorum| node.shares.lock().unwrap_or_else(PoisonError::into_inner).count(&quorum.id, Instant::now()));
    wire::SealStatus {
        sealed,
        seal_type: name_of(record.as_ref(), node),
        slots: record.iter().flat_map(|record| record.slots()).map(slot).collect(),
        initialized,
        node: number,
        shares_needed: quorum.map_or(0, |quorum| quorum.threshold.into()),
        shares_given: given.unwrap_or(0).into(),
    }
}

/// The seal that the node has, or, before it has one, the one that it is set to take.
fn seal_type(node: &Node) -> String {
    name_of(seal::read(&node.folder).ok().flatten().as_ref(), node)
}

fn slot(slot: &seal::Slot) -> wire::SealSlot {
    let shares = slot.shares();
    wire::SealSlot {
        slot: slot.id,
        seal_type: slot.seal_type().to_owned(),
        shares_needed: shares.map_or(0, |(needed, _)| needed.into()),
        shares_made: shares.map_or(0, |(_, made)| made.into()),
    }
}

fn name_of(record: Option<&seal::SealRecord>, node: &Node) -> String {
    let configured = match node.config.seal {
        SealKind::File => "file",
        SealKind::Passphrase => "passphrase",
        SealKind::Shamir => "shamir",
        SealKind::Pkcs11 => "pkcs11",
    };
    record.map_or_else(|| configured.to_owned(), seal::SealRecord::kinds)
}

impl Query for wire::SealRequest {
    const ACTION: Action = Action::Seal;
    /// A node that is cut off must be sealable, so neither a quorum nor a lease is asked for.
    const CONSISTENCY: Consistency = Consistency::Local;
    const UNDER_LEASE: bool = false;
    type Answer = wire::SealStatus;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::SealStatus, Detail), Refusal> {
        let seal_type = seal_type(desk.node);
        let status = wire::SealStatus {
            sealed: true,
            seal_type,
            initialized: true,
            node: desk.core.node.0,
            ..Default::default()
        };
        Ok((status, Detail::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_afar_nobody_opens_a_seal_that_asks_for_nothing() {
        for kinds in [&["pkcs11"][..], &["file"], &["passphrase", "pkcs11"], &["file", "shamir"]] {
            assert!(opens_for_anybody(kinds.iter().copied(), true), "{kinds:?}");
        }
        // With a passphrase or a share only those who ask for one are opened.
        assert!(!opens_for_anybody(["passphrase", "pkcs11"], false) && !opens_for_anybody(["shamir"], false));
        assert!(opens_for_anybody(["pkcs11", "file"], false), "there is none that asks for anything");
        assert!(!opens_for_anybody(["passphrase", "shamir"], true), "they ask");
    }
}
