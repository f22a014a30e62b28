//! The receipt of a destruction, as it is printed: who has erased what was destroyed, and where it may still be.

use chancery_client::proto::kms::v1 as kms;
use serde::Serialize;
use types::NodeId;

use crate::views::{at, rfc3339};

/// `DestructionReceipt`.
#[derive(Serialize, Debug)]
pub(crate) struct ReceiptView {
    versions: Vec<u32>,
    destroy_time: Option<String>,
    index: u64,
    erased: bool,
    erase_due_time: Option<String>,
    nodes: Vec<ErasureView>,
    backups_before: Option<String>,
    root_epoch: u32,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize, Debug)]
struct ErasureView {
    node: u64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    erase_time: Option<String>,
}

impl From<&kms::DestructionReceipt> for ReceiptView {
    fn from(wire: &kms::DestructionReceipt) -> Self {
        Self {
            versions: wire.versions.clone(),
            destroy_time: rfc3339(wire.destroy_time.as_ref()),
            index: wire.index,
            erased: wire.erased,
            erase_due_time: rfc3339(wire.erase_due_time.as_ref()),
            nodes: wire.nodes.iter().map(ErasureView::from).collect(),
            backups_before: rfc3339(wire.backups_before.as_ref()),
            root_epoch: wire.root_epoch,
            text: text(wire),
        }
    }
}

impl ReceiptView {
    /// Lines for people.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl From<&kms::NodeErasure> for ErasureView {
    fn from(wire: &kms::NodeErasure) -> Self {
        let state = match wire.state() {
            kms::ErasureState::Erased => "ERASED",
            kms::ErasureState::Pending => "PENDING",
            kms::ErasureState::Removed => "REMOVED",
            kms::ErasureState::Unspecified => "UNSPECIFIED",
        };
        let index = (wire.index > 0).then_some(wire.index);
        Self { node: wire.node, state, index, erase_time: rfc3339(wire.erase_time.as_ref()) }
    }
}

fn text(wire: &kms::DestructionReceipt) -> String {
    let mut lines = vec![format!(
        "destroyed {} at {} (entry {})",
        ranges(&wire.versions),
        at(wire.destroy_time.as_ref()),
        wire.index
    )];
    for node in &wire.nodes {
        let id = NodeId(node.node);
        lines.push(match node.state() {
            kms::ErasureState::Erased => {
                format!("  {id}  erased up to entry {} at {}", node.index, at(node.erase_time.as_ref()))
            }
            kms::ErasureState::Removed => {
                format!("  {id}  was removed before it had erased it: erase or destroy its disk")
            }
            kms::ErasureState::Pending | kms::ErasureState::Unspecified => {
                format!(
                    "  {id}  has it on its disk, wrapped and sealed, until {} at the latest",
                    at(wire.erase_due_time.as_ref())
                )
            }
        });
    }
    lines.push(format!(
        "  backups made before {} may hold it, wrapped under root key epochs up to {}",
        at(wire.backups_before.as_ref()),
        wire.root_epoch
    ));
    lines.join("\n")
}

/// `v1`, `v1 to v3, v7`.
fn ranges(versions: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for version in versions {
        match parts.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*version) => *last = *version,
            _ => parts.push((*version, *version)),
        }
    }
    let part = |(first, last): (u32, u32)| match first == last {
        true => format!("v{first}"),
        false => format!("v{first} to v{last}"),
    };
    parts.into_iter().map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_says_whose_disk_may_still_hold_it() {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let node = |node, state: kms::ErasureState, index| kms::NodeErasure {
            node,
            state: state.into(),
            index,
            erase_time: time(120).filter(|_| index > 0),
        };
        let wire = kms::DestructionReceipt {
            versions: vec![1, 2, 3, 7],
            destroy_time: time(60),
            index: 41,
            erase_due_time: time(86_460),
            nodes: vec![
                node(1, kms::ErasureState::Erased, 44),
                node(2, kms::ErasureState::Pending, 0),
                node(3, kms::ErasureState::Removed, 0),
            ],
            erased: false,
            backups_before: time(60),
            root_epoch: 1,
        };
        expect_test::expect![[r#"
            destroyed v1 to v3, v7 at 1970-01-01T00:01Z (entry 41)
              node-1  erased up to entry 44 at 1970-01-01T00:02Z
              node-2  has it on its disk, wrapped and sealed, until 1970-01-02T00:01Z at the latest
              node-3  was removed before it had erased it: erase or destroy its disk
              backups made before 1970-01-01T00:01Z may hold it, wrapped under root key epochs up to 1"#]]
        .assert_eq(ReceiptView::from(&wire).text());
    }
}
