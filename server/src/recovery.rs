//! An admin when none is left: whoever opens a seal of this node, on this node's own socket, enrols one (docs/spec/seal.md).
//!
//! What is brought opens a slot of `seal.json`, as unsealing does, and what that gives is compared with the root key in use.
//! Nothing that was brought is kept. The change is an ordinary entry, proposed in the name of the seal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit::{Detail, Event, Outcome, Text};
use crypto::SecretBytes;
use prost::Message as _;
use proto::cluster::v1::{RecoverOperatorRequest, RecoverOperatorResponse};
use state::{Command, OpenedSeal, RequestKey};
use types::{Action, NodeId, OperatorName, Principal, Reason, Refusal, RequestId, SpkiHash, Time};

use crate::clock;
use crate::core::{AppliedEntry, Core, NotAcknowledged, StateView, no_leader};
use crate::formation::{internal, refused};
use crate::node::Node;
use crate::request::decide::decide;
use crate::request::target::Target;
use crate::seal::{self, Offer, Opened, Place, SealError, SealRecord};
use crate::wire::{cluster, name};

/// How long after a proof that failed the next one waits.
const PENALTY: Duration = Duration::from_secs(1);
/// How long the change is held while nobody leads.
const LEADERLESS: Duration = Duration::from_secs(3);

/// Enrols an operator with the admin role on proof of this node's seal. The caller lets one such call run at a time.
///
/// # Errors
/// `SEALED` on a sealed node; `UNSEAL_FAILED` when what was brought opens no seal; why `apply` refused.
pub(crate) async fn recover(
    node: &Arc<Node>,
    mut request: RecoverOperatorRequest,
) -> Result<RecoverOperatorResponse, Refusal> {
    let brought = Brought::taken_from(&mut request);
    let core = node.serving(Action::RecoverOperator).map_err(|refusal| match refusal.reason {
        Reason::Sealed => Refusal::new(Reason::Sealed, "this node is sealed: unseal it first, `chancery seal unseal`"),
        _ => refusal,
    })?;
    match carry_out(node, &core, &request, brought).await {
        Ok(response) => Ok(response),
        Err(NotDone::Recorded(refusal)) => Err(refusal),
        Err(NotDone::Refused(refusal)) => {
            record_failure(&core, &request.operator_id, &refusal).await?;
            if refusal.reason == Reason::UnsealFailed {
                tracing::warn!(%refusal, "somebody tried to recover an operator, and what was brought opened no seal");
                tokio::time::sleep(PENALTY).await;
            }
            Err(refusal)
        }
    }
}

/// Why nobody was enrolled.
enum NotDone {
    /// `apply` has refused it and recorded that.
    Recorded(Refusal),
    /// It came to no entry.
    Refused(Refusal),
}

impl From<Refusal> for NotDone {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

async fn carry_out(
    node: &Arc<Node>,
    core: &Arc<Core>,
    request: &RecoverOperatorRequest,
    brought: Brought,
) -> Result<RecoverOperatorResponse, NotDone> {
    let name = OperatorName::parse(&request.operator_id).map_err(name::refused)?;
    let key = request_key(request)?;
    let state = core.fresh_state().await?;
    let root_epoch = state.root_epoch();
    let opened = prove(node, core, root_epoch, brought).await?;
    decide(&state, &Principal::Seal, Action::RecoverOperator, &Target::Operator(name.clone()))?;
    let (spki, expires) = enrolment(&state, request)?;
    let command = Command::RecoverOperator { name: name.clone(), spki, expires, opened, root_epoch };
    let applied = propose(core, &command, key).await?;
    applied.reply.map_err(NotDone::Recorded)?;
    core.raft.await_applied(applied.index, types::limits::CALL_TIMEOUT.to_std()).await.map_err(|e| internal(&e))?;
    answer(&core.state(), &name).map_err(NotDone::Recorded)
}

/// What somebody brings as a proof.
enum Brought {
    /// For a seal that asks for nothing: being on its machine.
    Nothing,
    Passphrase(SecretBytes),
    Shares(Vec<SecretBytes>),
}

impl Brought {
    /// Moved out of the request, into memory that wipes itself.
    fn taken_from(request: &mut RecoverOperatorRequest) -> Self {
        let passphrase = SecretBytes::from_vec(std::mem::take(&mut request.passphrase));
        let shares = std::mem::take(&mut request.shares).into_iter();
        let shares: Vec<_> = shares.map(|share| SecretBytes::from_vec(share.into_bytes())).collect();
        match (shares.is_empty(), passphrase.is_empty()) {
            (false, _) => Self::Shares(shares),
            (true, false) => Self::Passphrase(passphrase),
            (true, true) => Self::Nothing,
        }
    }
}

/// Opens a seal of this node with what was brought, and compares what it gives with the root key in use.
async fn prove(node: &Arc<Node>, core: &Arc<Core>, root_epoch: u32, brought: Brought) -> Result<OpenedSeal, Refusal> {
    let active = core.keyring.root(root_epoch)?;
    let record = core.seals.look(SealRecord::clone).await;
    let (holder, cluster) = (Arc::clone(node), core.cluster);
    // argon2id takes its time and its memory, and a token its time: not on a thread that answers others.
    let opening = tokio::task::spawn_blocking(move || open(&record, holder.seal_place(cluster), &brought));
    let (opened, by) = opening.await.map_err(|error| internal(&error))??;
    let same = opened.roots.iter().filter(|root| root.epoch == active.epoch);
    let mut same = same.map(|root| crypto::constant_time::eq(root.dangerous_bytes(), active.dangerous_bytes()));
    // A seal that was replaced may still open what was in use before.
    if same.next() != Some(true) {
        return Err(refused(&SealError::DoesNotOpen));
    }
    Ok(OpenedSeal { node: core.node, slot: opened.slot, by })
}

fn open(record: &SealRecord, place: Place<'_>, brought: &Brought) -> Result<(Opened, String), Refusal> {
    let (offer, met);
    let key;
    match brought {
        Brought::Nothing => (offer, met) = (Offer::Nothing, String::new()),
        Brought::Passphrase(words) => (offer, met) = (Offer::Passphrase(words.expose()), String::new()),
        Brought::Shares(texts) => {
            let (combined, numbers) = combine(record, place, texts)?;
            key = combined;
            (offer, met) = (Offer::Private(&key), format!(", shares {numbers}"));
        }
    }
    let opened = seal::unseal(record, place, offer).map_err(|error| refused(&error))?;
    let by = format!("{}{met}", opened.kind);
    Ok((opened, by))
}

/// The key that enough shares of one set give, and their numbers.
fn combine(
    record: &SealRecord,
    place: Place<'_>,
    texts: &[SecretBytes],
) -> Result<(crypto::Secret<32>, String), Refusal> {
    let mut last = SealError::NoShares;
    for quorum in record.quorums() {
        let recognise = |text: &SecretBytes| {
            let text = std::str::from_utf8(text.expose()).unwrap_or_default();
            quorum.recognise(place.cluster, text).map(|share| (share.index, share))
        };
        // The same one twice counts once.
        let shares = match texts.iter().map(recognise).collect::<Result<BTreeMap<_, _>, _>>() {
            Ok(shares) => shares,
            Err(why) => {
                last = why.into();
                continue;
            }
        };
        if shares.len() < usize::from(quorum.threshold) {
            let text = format!("this seal needs {} different shares, and {} came", quorum.threshold, shares.len());
            return Err(Refusal::new(Reason::UnsealFailed, text));
        }
        let numbers: Vec<_> = shares.keys().map(u8::to_string).collect();
        let shares: Vec<_> = shares.into_values().collect();
        let key = quorum.combine(&shares).map_err(|_| refused(&SealError::DoesNotOpen))?;
        return Ok((key, numbers.join(", ")));
    }
    Err(refused(&last))
}

fn enrolment(state: &StateView, request: &RecoverOperatorRequest) -> Result<(SpkiHash, Time), Refusal> {
    if crypto::sign::point_of_spki(&request.spki).is_none() {
        let text = "`spki` must be the DER SubjectPublicKeyInfo of an ECDSA P-256 key";
        return Err(Refusal::new(Reason::InvalidArgument, text));
    }
    let ttl = cluster::enrolment(request.ttl.as_ref())?;
    Ok((ca::spki_hash(&request.spki), state.time().max(clock::now()).after(ttl)))
}

/// What makes a retry recognisable. Whoever brings other shares for the same operator asks for the same: and no hash of a
/// passphrase gets into the log.
fn request_key(request: &RecoverOperatorRequest) -> Result<RequestKey, Refusal> {
    let id = RequestId::parse(&request.request_id).ok_or_else(|| {
        let text = format!("`{}` is not a request id: use a UUID of version 7", request.request_id);
        Refusal::new(Reason::InvalidArgument, text)
    })?;
    let RecoverOperatorRequest { operator_id, spki, ttl, passphrase: _, shares: _, request_id: _ } = request.clone();
    let bare = RecoverOperatorRequest { operator_id, spki, ttl, ..RecoverOperatorRequest::default() };
    let body = [Action::RecoverOperator.as_str().as_bytes(), &[0], &bare.encode_to_vec()].concat();
    Ok(RequestKey { id, body: crypto::hash::sha256(&body) })
}

/// Has it carried out by whoever leads; while leadership moves it is tried again, which the request id makes harmless.
async fn propose(core: &Core, command: &Command, key: RequestKey) -> Result<AppliedEntry, Refusal> {
    let by = Instant::now() + LEADERLESS;
    loop {
        match core.propose_for_seal(command.clone(), key).await {
            Ok(applied) => return Ok(applied),
            Err(NotAcknowledged::Refused(refusal)) => return Err(refusal),
            Err(NotAcknowledged::LedByAnother) if Instant::now() >= by => return Err(no_leader()),
            Err(NotAcknowledged::LedByAnother) => core.check_alive()?,
        }
        core.await_leader(by.saturating_duration_since(Instant::now())).await;
    }
}

fn answer(state: &StateView, name: &OperatorName) -> Result<RecoverOperatorResponse, Refusal> {
    let row = state.operator(name).ok_or_else(|| Refusal::not_found("operator", name))?;
    let formed = state.cluster().ok_or_else(|| Refusal::new(Reason::NotInitialized, "there is no cluster yet"))?;
    Ok(RecoverOperatorResponse {
        operator: Some(cluster::operator(state, name, row)),
        cluster_id: formed.id.to_hex(),
        cluster_key_hash: ca::spki_hash(&formed.spki).to_hex(),
    })
}

/// Whoever opened no seal is not the seal: it came over this node's own socket, and that is all that is known.
async fn record_failure(core: &Core, operator: &str, refusal: &Refusal) -> Result<(), Refusal> {
    let mut event = Event::allowed(clock::now(), Principal::LocalAdmin, Action::RecoverOperator);
    event.resource = Text::clipped(&format!("operators/{operator}"));
    event.outcome = match refusal.reason {
        Reason::UnsealFailed => Outcome::Deny(refusal.reason),
        reason => crate::request::record::outcome(reason),
    };
    let NodeId(number) = core.node;
    event.detail = Detail::new().count("node", number);
    core.record(event).await
}
