//! `SealService`, what changes the seals of the answering node. They are the node's own, on its own disk: nothing of them is
//! in the log but the record of the call.

use audit::Detail;
use crypto::SecretBytes;
use proto::cluster::v1 as wire;
use proto::cluster::v1::add_seal_request::Seal;
use types::{Action, Reason, Refusal, RequestId};

use super::seal::seal_status;
use crate::core::StateView;
use crate::formation::refused;
use crate::request::authn::Caller;
use crate::request::query::{self, Consistency, Query};
use crate::request::target::Target;
use crate::seal::{Addition, Quorum};

impl Query for wire::AddSealRequest {
    const ACTION: Action = Action::AddSeal;
    /// Whether the caller may is asked of a state that a quorum has confirmed: what it adds opens the node for good.
    const CONSISTENCY: Consistency = Consistency::Linearizable;
    const UNDER_LEASE: bool = false;
    type Answer = wire::SealStatus;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::SealStatus, Detail), Refusal> {
        let request = request_id(&self.request_id)?;
        let (kind, addition) = match self.seal {
            Some(Seal::File(wire::FileSeal {})) => ("file", Addition::File),
            Some(Seal::Passphrase(seal)) => {
                ("passphrase", Addition::Passphrase(SecretBytes::from_vec(seal.passphrase)))
            }
            Some(Seal::Shamir(seal)) => ("shamir", Addition::Quorum(Quorum::from_wire(&seal)?)),
            Some(Seal::Pkcs11(wire::Pkcs11Seal {})) => ("pkcs11", Addition::Pkcs11),
            None => return Err(Refusal::new(Reason::InvalidArgument, "`seal` is missing: say which kind to add")),
        };
        let adding = desk.core.seals.add(desk.node, addition, &desk.core.keyring, request.0);
        let slot = adding.await.map_err(|error| refused(&error))?;
        tracing::warn!(slot, kind, by = %desk.caller.principal, "a seal was added to this node");
        let detail = Detail::new().count("slot", slot.into()).text("seal_type", kind);
        Ok((seal_status(desk.node), detail))
    }
}

impl Query for wire::DropSealRequest {
    const ACTION: Action = Action::DropSeal;
    /// As for adding one.
    const CONSISTENCY: Consistency = Consistency::Linearizable;
    const UNDER_LEASE: bool = false;
    type Answer = wire::SealStatus;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::SealStatus, Detail), Refusal> {
        request_id(&self.request_id)?;
        desk.core.seals.drop_slot(desk.node, self.slot).await.map_err(|error| refused(&error))?;
        tracing::warn!(slot = self.slot, by = %desk.caller.principal, "a seal was taken from this node");
        Ok((seal_status(desk.node), Detail::new().count("slot", self.slot.into())))
    }
}

fn request_id(text: &str) -> Result<RequestId, Refusal> {
    RequestId::parse(text).ok_or_else(|| {
        Refusal::new(Reason::InvalidArgument, format!("`{text}` is not a request id: use a UUID of version 7"))
    })
}
