//! The use of versions: proposed, and what must be true of it. Of a version with a ceiling nobody is ever handed more than that, whatever
//! crashes, is repeated or comes late; a rotation by count comes when so much was handed out, and not before.

use std::collections::BTreeMap;

use kms::{LimitsChange, RotationCause, Usage, UsageChange, UsageLimits, UsagePolicy};
use state::{Command, Outcome, Reply, State};
use types::limits::ROTATE_AFTER_USES_MIN;
use types::{KeyId, NodeId};

use crate::rng::Rng;

/// Sums of what was handed out, by version.
#[derive(Debug, Default)]
pub(crate) struct UsageModel {
    handed: BTreeMap<(KeyId, u32), Usage>,
}

impl UsageModel {
    /// Judges an accepted entry.
    pub(crate) fn follow(
        &mut self,
        command: &Command,
        outcome: &Outcome,
        before: &State,
        after: &State,
    ) -> Result<(), String> {
        match command {
            Command::LeaseUsage { namespace, name, version, least, .. } => {
                let key = before.key(namespace, name).ok_or("a block of a key that is not there")?;
                let Ok(Reply::Usage { block, limits }) = outcome.reply else {
                    return Err("a lease without a block".to_owned());
                };
                ensure!(block.uses >= least.uses && block.bytes >= least.bytes, "a block smaller than was asked for");
                ensure!(limits == key.usage_revision, "a block under limits that the key does not have");
                ensure!(before.check_open(namespace).is_ok(), "a block of a key that is closed or quarantined");
                let row = before.key_version(&key.id, *version).ok_or("a block of a version that is not there")?;
                ensure!(key.version_usable(*version, row).is_ok(), "a block of a version that nobody may use");
                let handed = self.handed.entry((key.id, *version)).or_default();
                let UsageLimits { uses, bytes } = key.usage.ceiling;
                let counted =
                    |bound: Option<u64>, after: Option<u64>, amount| if bound.or(after).is_some() { amount } else { 0 };
                let policy = key.usage;
                handed.uses += counted(uses, policy.rotate_after.uses, block.uses);
                handed.bytes += counted(bytes, policy.rotate_after.bytes, block.bytes);
                ensure!(uses.is_none_or(|most| handed.uses <= most), "{} uses past {uses:?}", handed.uses);
                ensure!(bytes.is_none_or(|most| handed.bytes <= most), "{} bytes past {bytes:?}", handed.bytes);
                let kept = after.usage(&key.id, *version).map(|row| row.granted);
                ensure!(kept == Some(*handed), "{handed:?} was handed out, {kept:?} is known");
            }
            Command::AddKeyVersion { namespace, name, cause: RotationCause::Count, .. } => {
                let key = before.key(namespace, name).ok_or("a key that is not there was rotated")?;
                let handed = self.handed.get(&(key.id, key.primary)).copied().unwrap_or_default();
                let UsageLimits { uses, bytes } = key.usage.rotate_after;
                let enough =
                    uses.is_some_and(|after| handed.uses >= after) || bytes.is_some_and(|after| handed.bytes >= after);
                ensure!(enough, "rotated after {handed:?}, due after {uses:?} uses, {bytes:?} bytes");
                let again = after.rotations_due(after.time()).any(|due| due.name == name && due.namespace == namespace);
                ensure!(!again, "rotated by count and due again at once");
            }
            _ => {}
        }
        Ok(())
    }

    /// What was handed out is known for ever.
    pub(crate) fn check(&self, state: &State) -> Result<(), String> {
        for ((key, version), handed) in &self.handed {
            let kept = state.usage(key, *version).map(|row| row.granted);
            ensure!(kept == Some(*handed), "{handed:?} of version {version} was handed out, {kept:?} is known");
        }
        Ok(())
    }
}

/// Bounds that a few leases reach.
pub(crate) fn policy(rng: &mut Rng) -> UsagePolicy {
    let bound = |rng: &mut Rng, least: u64| rng.chance(40).then(|| least + rng.below(2_000));
    let rotate_after = UsageLimits { uses: bound(rng, ROTATE_AFTER_USES_MIN), bytes: None };
    UsagePolicy { rotate_after, ceiling: UsageLimits { uses: bound(rng, 1_200), bytes: bound(rng, 100_000) } }
}

/// Bounds that are set, moved or taken away.
pub(crate) fn change(rng: &mut Rng) -> UsageChange {
    let mut bound = |least: u64| rng.chance(20).then(|| rng.chance(80).then(|| least + rng.below(2_000)));
    let ceiling = LimitsChange { uses: bound(500), bytes: bound(50_000) };
    UsageChange { rotate_after: LimitsChange { uses: bound(ROTATE_AFTER_USES_MIN), bytes: None }, ceiling }
}

/// A node asks for a block of some key whose use is counted; now and then of another.
pub(crate) fn lease(rng: &mut Rng, view: &State) -> Option<Command> {
    let any = rng.chance(5);
    let counted: Vec<_> = view.all_keys().filter(|(_, key)| any || key.usage.is_counted()).collect();
    let ((namespace, name), key) = counted.get(rng.place(counted.len()))?;
    let version = if rng.chance(80) { key.primary } else { 1 + u32::try_from(rng.below(4)).unwrap_or(0) };
    let least = Usage { uses: 1 + rng.below(1_500), bytes: rng.below(20_000) };
    let (namespace, name) = (namespace.clone(), name.clone());
    let members: Vec<NodeId> = view.nodes().map(|(node, _)| node).collect();
    let node = if rng.chance(95) { *rng.pick(&members) } else { NodeId(1 + rng.below(4)) };
    Some(Command::LeaseUsage { node, namespace, name, version, least })
}
