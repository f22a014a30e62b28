//! How much of a version each node may use (`docs/spec/usage.md`): handed out in blocks, so that the sum is known whoever stops.

use kms::VersionUsage;
use types::{Reason, Refusal};

use super::keys::{found, version_of};
use crate::command::{Command, Reply};
use crate::turn::{Handled, Turn, refuse};

/// Hands out a block. A node that never hears of it, or stops before it has spent it, takes it along.
pub(crate) fn lease(turn: &mut Turn<'_>, command: &Command) -> Handled {
    let Command::LeaseUsage { node, namespace, name, version, least } = command else {
        return refuse(Reason::Internal, "not the lease of a block of use");
    };
    if turn.state.node(*node).is_none() {
        return Err(Refusal::not_found("node", node));
    }
    let key = found(turn, namespace, name)?;
    turn.state.check_open(namespace)?;
    let row = version_of(turn, &key, *version)?;
    let nodes = turn.state.node_table().len() as u64;
    let before = turn.state.usage(&key.id, *version).copied();
    let mut used = before.unwrap_or_else(|| VersionUsage::starting(turn.now));
    let block = key.grant_use((*version, &row), &mut used, (*least, nodes), turn.now)?;
    turn.state.put_usage((key.id, *version), used);
    let level = key.usage.level(used.granted);
    if level != key.usage.level(before.map(|before| before.granted).unwrap_or_default()) {
        turn.fact_text("level", level.as_str());
    }
    turn.fact_count("uses", used.granted.uses);
    turn.fact_count("bytes", used.granted.bytes);
    Ok(Reply::Usage { block, limits: key.usage_revision })
}
