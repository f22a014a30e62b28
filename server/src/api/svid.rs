//! `SvidService`: issuance. The node's own authority signs, under the node's lease; a node without one that may sign passes
//! the order on to a member that has. There is no log entry for each certificate, but an audit record with its serial.

use ::ca::{Authority, AuthorityState, DnsName, Grant, IssueError, Issued, Issuer, RequestedKey, Serial, SvidOrder};
use audit::Detail;
use proto::ca::v1 as wire;
use proto::ca::v1::svid_service_server::SvidService;
use state::State;
use tonic::{Request, Response, Status};
use types::{Action, NamespaceName, NodeId, Principal, Reason, Refusal, Time};

use super::Api;
use crate::core::{Core, StateView, judging_time};
use crate::request::authn::Caller;
use crate::request::query::{self, Query};
use crate::request::relay::{self, Relayed};
use crate::request::target::Target;
use crate::wire::name;
use crate::wire::time::timestamp;

#[tonic::async_trait]
impl SvidService for Api {
    async fn issue_x509_svid(
        &self,
        request: Request<wire::IssueX509SvidRequest>,
    ) -> Result<Response<wire::IssueX509SvidResponse>, Status> {
        relay::serve(&self.node, request).await
    }
}

impl Relayed for wire::IssueX509SvidRequest {
    /// A learner has no authority, a voter that just came has none that may sign: they ask those that have. The leader
    /// comes first, for it was up when it was last heard of.
    fn members(&self, core: &Core) -> Vec<NodeId> {
        let state = core.state();
        if own_active(&state, core.node).is_ok_and(|authority| core.authority.signer(&authority.key).is_some()) {
            return vec![core.node];
        }
        let signs = |authority: &&Authority| authority.state == AuthorityState::Active && authority.node != core.node;
        let mut members: Vec<NodeId> = state.authorities().filter(signs).map(|authority| authority.node).collect();
        let leader = core.raft.leader();
        members.sort_unstable_by_key(|id| (Some(*id) != leader, *id));
        members.dedup();
        members
    }
}

/// This node's authority that may sign now.
///
/// # Errors
/// [`Reason::NoAuthority`]: another node may have one.
pub(crate) fn own_active(state: &State, node: NodeId) -> Result<&Authority, Refusal> {
    let own = state.authorities().filter(|authority| authority.node == node);
    own.filter(|authority| authority.state == AuthorityState::Active)
        .max_by_key(|authority| authority.generated)
        .ok_or_else(|| {
            Refusal::new(Reason::NoAuthority, "this node has no authority that may sign now, try another node")
        })
}

/// Joins that authority with its key, for the length of one signature.
///
/// # Errors
/// As [`own_active`], and when the key is not on this node's disk.
pub(crate) fn with_issuer<T>(
    core: &Core,
    state: &State,
    now: Time,
    work: impl FnOnce(&Issuer<'_>) -> Result<T, IssueError>,
) -> Result<T, Refusal> {
    let authority = own_active(state, core.node)?;
    let signer = core.authority.signer(&authority.key).ok_or_else(|| {
        tracing::error!(authority = %authority.key, "the key of an active authority is not on this disk");
        Refusal::new(Reason::NoAuthority, "this node does not hold the key of its authority, try another node")
    })?;
    let issued = Issuer::new(authority, &signer, now).and_then(|issuer| work(&issuer));
    issued.map_err(|error| match error {
        IssueError::Refused(refusal) => refusal,
        IssueError::Fault(fault) => {
            tracing::error!(%fault, "nothing was issued");
            Refusal::new(Reason::Internal, "the certificate could not be made")
        }
    })
}

/// What the namespace owns at this moment; a suffix that is none was never granted.
fn dns_suffixes(state: &State, ns: &NamespaceName) -> Vec<DnsName> {
    let granted = state.namespace(ns).map(|row| row.settings.dns_suffixes.as_slice()).unwrap_or_default();
    granted.iter().filter_map(|suffix| DnsName::parse(suffix).ok()).collect()
}

impl Query for wire::IssueX509SvidRequest {
    const ACTION: Action = Action::IssueSvid;
    type Answer = wire::IssueX509SvidResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        name::entry(&self.entry).map(|(ns, entry)| Target::Entry(ns, entry))
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::IssueX509SvidResponse, Detail), Refusal> {
        let (ns, entry_name) = name::entry(&self.entry)?;
        let now = judging_time(&desk.state);
        if let Principal::Agent(agent) = &desk.caller.principal {
            // An agent that has not pushed the newest bundle would hand out SVIDs that its peers cannot verify.
            desk.state.check_holder(agent, now)?;
        }
        let entry = super::entries::find(&desk.state, &ns, &entry_name)?;
        desk.state.check_open(&ns)?;
        let key = RequestedKey::from_csr(&self.csr)?;
        let trust_domain = desk.state.trust_domain().ok_or_else(|| Refusal::not_found("entry", &entry_name))?;
        let dns_suffixes = dns_suffixes(&desk.state, &ns);
        let grant = Grant { trust_domain, namespace: &ns, dns_suffixes: &dns_suffixes };
        let serial = Serial::from_random(crypto::entropy::array());
        let order = SvidOrder { entry, grant, key: &key, serial, now };
        let issued: Issued = with_issuer(desk.core, &desk.state, now, |issuer| issuer.svid(&order))?;
        let spiffe_id = entry.spiffe_id().to_string();
        let serial = issued.serial.to_hex();
        let detail = Detail::new()
            .text("spiffe_id", &spiffe_id)
            .text("serial", &serial)
            .count("not_after_ms", issued.not_after.0);
        let answer = wire::IssueX509SvidResponse {
            expire_time: timestamp(issued.not_after),
            chain: vec![issued.certificate.into_der()],
            spiffe_id,
            serial,
        };
        Ok((answer, detail))
    }
}
