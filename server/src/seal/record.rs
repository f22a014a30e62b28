//! `seal.json`: the node's seals, and the root keys that each of them opens. Nothing in clear.
//!
//! A root key is sealed in every slot. One that is staged is there as well, and is not used until the cluster has made it
//! the active one: only `staged` tells it from the others.

use std::collections::BTreeSet;

use crypto::{Secret, sealed_box};
use serde::{Deserialize, Serialize};
use types::{ClusterId, RootId, limits};

use super::SealError;
use super::hex::Hex;
use super::shamir::Quorum;
use super::slot::{Offer, Parameters, Place, Seal as _};
use crate::root::{self, Root};

/// The newest layout of `seal.json`.
const VERSION: u32 = 1;
/// The number of a node's first slot.
const FIRST_SLOT: u32 = 1;

/// The content of `seal.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealRecord {
    version: u32,
    cluster: Hex<16>,
    /// The number of the next slot; numbers are not used again.
    next_slot: u32,
    slots: Vec<Slot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    staged: Option<Staged>,
}

/// One seal and what it opens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slot {
    /// Its number on this node.
    pub id: u32,
    /// What kind of seal it is.
    pub parameters: Parameters,
    /// The root key of each epoch, oldest first.
    roots: Vec<SealedRoot>,
    /// The request that added it: a repeat adds no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Hex<16>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedRoot {
    epoch: u32,
    id: Hex<16>,
    /// A sealed box, hexadecimal.
    sealed: String,
}

/// A root key that the cluster has not made the active one yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Staged {
    epoch: u32,
    id: Hex<16>,
    /// The slot that came with it, and stays if it becomes active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adds: Option<u32>,
    /// The slots that go if it becomes active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    drops: Vec<u32>,
}

/// What an offer has opened.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The root keys, oldest first; the staged one too, if its slot has it.
    pub roots: Vec<Root>,
    /// The kind of the seal that gave way.
    pub kind: &'static str,
    /// The number of its slot.
    pub slot: u32,
}

impl SealRecord {
    /// No seal yet.
    pub(super) fn new(cluster: ClusterId) -> Self {
        Self { version: VERSION, cluster: Hex(cluster.0), next_slot: FIRST_SLOT, slots: Vec::new(), staged: None }
    }

    /// Whose root key it is.
    pub(crate) fn cluster(&self) -> ClusterId {
        ClusterId(self.cluster.0)
    }

    /// The seals, in the order in which they were made.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The shares that open the node, if it has such a seal.
    pub(crate) fn quorum(&self) -> Option<&Quorum> {
        self.quorums().next()
    }

    /// All of them: while new shares are on their way there are two.
    pub(crate) fn quorums(&self) -> impl Iterator<Item = &Quorum> {
        self.slots.iter().filter_map(|slot| match &slot.parameters {
            Parameters::Shamir { quorum } if quorum.is_sound() => Some(quorum),
            _ => None,
        })
    }

    /// Whether there is a seal of that kind.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.slots.iter().any(|slot| slot.parameters.kind() == kind)
    }

    /// The kinds of its seals as they are printed, each once.
    #[must_use]
    pub(crate) fn kinds(&self) -> String {
        let mut kinds: Vec<&str> = Vec::new();
        for slot in &self.slots {
            let kind = slot.parameters.kind();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds.join(", ")
    }

    /// The epoch under which the node writes: the newest that is not staged.
    #[must_use]
    pub(crate) fn active_epoch(&self) -> u32 {
        let staged = self.staged.as_ref().map(|staged| staged.epoch);
        let epochs = self.slots.iter().flat_map(|slot| &slot.roots).map(|root| root.epoch);
        epochs.filter(|epoch| Some(*epoch) != staged).max().unwrap_or(root::FIRST_EPOCH)
    }

    /// The epochs that are sealed here, oldest first.
    pub(crate) fn epochs(&self) -> Vec<u32> {
        let mut epochs: Vec<u32> = self.slots.iter().flat_map(|slot| &slot.roots).map(|root| root.epoch).collect();
        epochs.sort_unstable();
        epochs.dedup();
        epochs
    }

    /// The root keys that are sealed here, oldest first, by number and name; the staged one too.
    pub(crate) fn root_names(&self) -> BTreeSet<(u32, RootId)> {
        self.slots.iter().flat_map(|slot| &slot.roots).map(|root| (root.epoch, RootId(root.id.0))).collect()
    }

    /// The root key that is staged.
    #[must_use]
    pub(crate) fn staged(&self) -> Option<(u32, RootId)> {
        self.staged.as_ref().map(|staged| (staged.epoch, RootId(staged.id.0)))
    }

    /// Opens the root keys by the first seal that gives way.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`] when none does.
    pub(super) fn open(&self, place: Place<'_>, offer: Offer<'_>) -> Result<Opened, SealError> {
        if self.version != VERSION {
            return Err(SealError::DoesNotOpen);
        }
        let mut asked_in_vain = None;
        for slot in &self.slots {
            let key = match slot.parameters.private_key(place, offer) {
                Ok(Some(key)) => key,
                Ok(None) => continue,
                // Another of the seals may give way.
                Err(error @ (SealError::Token(_) | SealError::NoToken)) => {
                    asked_in_vain = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let opened: Option<Vec<_>> = slot.roots.iter().map(|root| root.open(place.cluster, &key)).collect();
            let Some(opened) = opened.filter(|roots| !roots.is_empty()) else { continue };
            let roots = opened.iter().map(|(epoch, key)| Root::new(*epoch, key)).collect::<Result<Vec<_>, _>>()?;
            // A box says nothing about who sealed it; a key under another's name would not open the log either.
            if roots.iter().zip(&slot.roots).any(|(root, sealed)| root.id.0 != sealed.id.0) {
                continue;
            }
            return Ok(Opened { roots, kind: slot.parameters.kind(), slot: slot.id });
        }
        Err(asked_in_vain.unwrap_or(SealError::DoesNotOpen))
    }

    /// Adds a seal that opens these root keys; returns its number, or that of the seal which the same request added before.
    ///
    /// # Errors
    /// [`SealError::Staged`], [`SealError::TooMany`].
    pub(super) fn add<'a>(
        &mut self,
        parameters: Parameters,
        roots: impl IntoIterator<Item = &'a Root>,
        request: Option<[u8; 16]>,
    ) -> Result<u32, SealError> {
        if let Some(slot) = request.and_then(|request| self.added_by(request)) {
            return Ok(slot);
        }
        self.check_unstaged()?;
        let roots: Vec<&Root> = roots.into_iter().collect();
        let given: BTreeSet<_> = roots.iter().map(|root| (root.epoch, root.id.0)).collect();
        let sealed: BTreeSet<_> =
            self.slots.iter().flat_map(|slot| &slot.roots).map(|root| (root.epoch, root.id.0)).collect();
        // What the file holds is what the node opens with: a seal for more or less than that is of another moment of a rekey.
        if !self.slots.is_empty() && given != sealed {
            return Err(SealError::Changing);
        }
        self.push(parameters, roots, request)
    }

    /// The seal that a request has added.
    pub(crate) fn added_by(&self, request: [u8; 16]) -> Option<u32> {
        self.slots.iter().find(|slot| slot.request == Some(Hex(request))).map(|slot| slot.id)
    }

    /// Takes a seal away; true when it was there. One that has been taken away before is not missed.
    ///
    /// # Errors
    /// [`SealError::LastSlot`], [`SealError::NoSlot`], [`SealError::Staged`].
    pub(super) fn drop_slot(&mut self, id: u32) -> Result<Option<Parameters>, SealError> {
        let Some(at) = self.slots.iter().position(|slot| slot.id == id) else {
            return if (FIRST_SLOT..self.next_slot).contains(&id) { Ok(None) } else { Err(SealError::NoSlot(id)) };
        };
        self.check_unstaged()?;
        let active = self.active_epoch();
        let opens = |slot: &Slot| slot.id != id && slot.roots.iter().any(|root| root.epoch == active);
        if !self.slots.iter().any(opens) {
            return Err(SealError::LastSlot);
        }
        Ok(Some(self.slots.remove(at).parameters))
    }

    /// Seals a root key beside those that are there. `quorum` takes the place of the shamir seals once the key is active;
    /// their shares never open it. `held` are the root keys that the node has.
    ///
    /// # Errors
    /// When there is no room, or a seal's public half is none.
    pub(super) fn stage<'a>(
        &mut self,
        root: &'a Root,
        quorum: Option<Quorum>,
        held: impl IntoIterator<Item = &'a Root>,
    ) -> Result<(), SealError> {
        self.unstage();
        if !root::has_room(self.epochs().len()) {
            return Err(SealError::TooManyEpochs);
        }
        let shamir = |slot: &&Slot| matches!(slot.parameters, Parameters::Shamir { .. });
        let old: Vec<u32> = self.slots.iter().filter(shamir).map(|slot| slot.id).collect();
        let quorum = quorum.filter(|quorum| quorum.is_sound() && !old.is_empty());
        let drops = if quorum.is_some() { old } else { Vec::new() };
        let cluster = self.cluster();
        for slot in self.slots.iter_mut().filter(|slot| !drops.contains(&slot.id)) {
            slot.seal(cluster, root)?;
        }
        let adds = match quorum {
            Some(quorum) => {
                let all = held.into_iter().filter(|other| other.epoch < root.epoch).chain([root]);
                Some(self.push(Parameters::Shamir { quorum }, all, None)?)
            }
            None => None,
        };
        self.staged = Some(Staged { epoch: root.epoch, id: Hex(root.id.0), adds, drops });
        Ok(())
    }

    /// The staged root key is the active one from now on.
    pub(super) fn activate(&mut self) {
        if let Some(Staged { drops, .. }) = self.staged.take() {
            self.slots.retain(|slot| !drops.contains(&slot.id));
        }
    }

    /// The staged root key is not wanted any more.
    pub(super) fn unstage(&mut self) {
        if let Some(Staged { epoch, adds, .. }) = self.staged.take() {
            self.slots.retain(|slot| Some(slot.id) != adds);
            self.forget(epoch);
        }
    }

    /// Forgets the root key of an epoch; never the one under which the node writes.
    pub(super) fn retire(&mut self, epoch: u32) {
        if epoch < self.active_epoch() {
            self.forget(epoch);
        }
    }

    fn forget(&mut self, epoch: u32) {
        for slot in &mut self.slots {
            slot.roots.retain(|root| root.epoch != epoch);
        }
    }

    fn push<'a>(
        &mut self,
        parameters: Parameters,
        roots: impl IntoIterator<Item = &'a Root>,
        request: Option<[u8; 16]>,
    ) -> Result<u32, SealError> {
        if self.slots.len() >= limits::SEAL_SLOTS_MAX {
            return Err(SealError::TooMany);
        }
        let id = self.next_slot;
        let mut slot = Slot { id, parameters, roots: Vec::new(), request: request.map(Hex) };
        for root in roots {
            slot.seal(self.cluster(), root)?;
        }
        self.slots.push(slot);
        self.next_slot = id.saturating_add(1);
        Ok(id)
    }

    /// While a root key is on its way the seals stay as they are: which of them will open it has been said.
    fn check_unstaged(&self) -> Result<(), SealError> {
        self.staged.as_ref().map_or(Ok(()), |staged| Err(SealError::Staged(staged.epoch)))
    }
}

impl Slot {
    /// Its kind as it is printed.
    #[must_use]
    pub(crate) fn seal_type(&self) -> &'static str {
        self.parameters.kind()
    }

    /// How many of how many shares open it, if it takes shares.
    #[must_use]
    pub(crate) fn shares(&self) -> Option<(u8, u8)> {
        match &self.parameters {
            Parameters::Shamir { quorum } => {
                Some((quorum.threshold, u8::try_from(quorum.verifiers.len()).unwrap_or(u8::MAX)))
            }
            _ => None,
        }
    }

    fn seal(&mut self, cluster: ClusterId, root: &Root) -> Result<(), SealError> {
        let sealed =
            sealed_box::seal(&self.parameters.recipient(), &aad(cluster, root.epoch, root.id), root.dangerous_bytes());
        let sealed = ::hex::encode(sealed.map_err(|_| SealError::DoesNotOpen)?);
        self.roots.push(SealedRoot { epoch: root.epoch, id: Hex(root.id.0), sealed });
        Ok(())
    }
}

impl SealedRoot {
    /// None when the key is not the one that it is sealed for, or the record was changed.
    fn open(&self, cluster: ClusterId, key: &Secret<32>) -> Option<(u32, Secret<32>)> {
        let (sealed, aad) = (::hex::decode(&self.sealed).ok()?, aad(cluster, self.epoch, RootId(self.id.0)));
        let opened = sealed_box::open(key, &aad, &sealed).ok()?;
        Some((self.epoch, Secret::from_slice(opened.expose())?))
    }
}

/// Binds the sealed key to its cluster, epoch and name, so that no record can be moved to another.
fn aad(cluster: ClusterId, epoch: u32, id: RootId) -> Vec<u8> {
    [b"chancery seal v1".as_slice(), &cluster.0, &epoch.to_be_bytes(), &id.0].concat()
}

#[cfg(test)]
#[path = "record_test.rs"]
mod tests;
