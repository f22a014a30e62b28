//! The trust document: made from state, signed with the cluster key, kept until what it says has changed.

use std::sync::{Mutex, PoisonError};

use chancery_client::Address;
use chancery_client::trust::{self, Statement, TrustedNode};
use crypto::sign::P256Signer;
use proto::cluster::v1::TrustDocument;
use state::State;
use types::{Reason, Refusal};

use crate::core::Core;

/// The last document that was signed, by its sequence.
#[derive(Debug, Default)]
pub(crate) struct TrustDesk(Mutex<Option<(u64, TrustDocument)>>);

/// The document as of the applied state.
///
/// # Errors
/// When there is no cluster yet, or the cluster key does not open.
pub(crate) fn document(core: &Core) -> Result<TrustDocument, Refusal> {
    let state = core.state();
    let mut kept = core.trust.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((sequence, document)) = kept.as_ref()
        && *sequence == state.trust_sequence()
    {
        return Ok(document.clone());
    }
    let row = state.cluster().ok_or_else(|| Refusal::new(Reason::NotInitialized, "there is no cluster yet"))?;
    let pkcs8 = core.keyring.cluster_key(state.root_epoch(), &row.key_wrapped)?;
    let signer = P256Signer::from_pkcs8(pkcs8.expose())
        .map_err(|_| Refusal::new(Reason::Internal, "the cluster key cannot be read"))?;
    let document = trust::sign(&statement(&state, row), &signer);
    *kept = Some((state.trust_sequence(), document.clone()));
    Ok(document)
}

fn statement(state: &State, row: &state::rows::Cluster) -> Statement {
    let node = |(id, node): (types::NodeId, &state::rows::Node)| {
        let api_address = Address::parse(&node.info.api_address).ok()?;
        Some(TrustedNode { node: id, spki: node.info.spki, api_address })
    };
    Statement {
        cluster_id: row.id,
        generation: row.generation.get(),
        sequence: state.trust_sequence(),
        nodes: state.nodes().filter_map(node).collect(),
        trust_domain: row.trust_domain.clone(),
        x509_authorities: state.bundle().map(|bundle| bundle.roots).unwrap_or_default(),
    }
}
