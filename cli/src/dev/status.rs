//! What the members are doing, as `cluster status` shows it, in the words of the tour.

use chancery_client::Client;
use chancery_client::proto::cluster::v1::{ClusterStatus, GetStatusRequest, NodeRole, NodeStatus};

use super::fault::Fault;
use super::stage::{Node, Stage};
use super::wait::Asked;

/// Asks the cluster. A cluster that is forming or electing may not answer: that is not a fault.
pub(crate) async fn ask(client: &Client) -> Asked<ClusterStatus> {
    match client.cluster().status(GetStatusRequest {}).await {
        Ok(status) => Asked::Yes(status),
        Err(error) => Asked::NotYet(error.to_string()),
    }
}

/// The member at that node's address.
pub(crate) fn member<'a>(status: &'a ClusterStatus, node: &Node) -> Option<&'a NodeStatus> {
    let api = node.ports.api.to_string();
    status.nodes.iter().find(|member| member.api_address == api)
}

/// Why the cluster is not whole yet; `None` when `count` voters are reachable, unsealed and led.
pub(crate) fn missing(status: &ClusterStatus, count: usize) -> Option<String> {
    if status.nodes.len() != count {
        return Some(format!("{} of {count} nodes are members", status.nodes.len()));
    }
    if status.leader == 0 {
        return Some("nobody leads".to_owned());
    }
    status.nodes.iter().find_map(|node| {
        let name = format!("node-{}", node.node);
        match node.role() {
            _ if node.sealed => Some(format!("{name} is sealed")),
            _ if !node.reachable => Some(format!("{name} is not reachable")),
            NodeRole::Leader | NodeRole::Follower => None,
            NodeRole::Learner => Some(format!("{name} is a learner")),
            NodeRole::Leaving => Some(format!("{name} is leaving")),
            NodeRole::Candidate | NodeRole::Unspecified => Some(format!("{name} has no part yet")),
        }
    })
}

/// Why not every member may sign certificates yet.
pub(crate) fn without_authority(status: &ClusterStatus) -> Option<String> {
    let idle = status.nodes.iter().find(|node| !node.authority_state.eq_ignore_ascii_case("active"))?;
    Some(format!("the authority of node-{} is `{}`", idle.node, idle.authority_state))
}

/// The place of the leader's process.
pub(crate) fn leader(stage: &Stage, status: &ClusterStatus) -> Result<usize, Fault> {
    let leads = |node: &Node| member(status, node).is_some_and(|member| member.node == status.leader);
    let at = stage.nodes.iter().position(leads);
    at.ok_or_else(|| Fault::new(format!("node-{} leads and is none of ours", status.leader)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(node: u64, role: NodeRole) -> NodeStatus {
        NodeStatus {
            node,
            role: role.into(),
            reachable: true,
            authority_state: "active".to_owned(),
            ..NodeStatus::default()
        }
    }

    fn status(nodes: Vec<NodeStatus>) -> ClusterStatus {
        ClusterStatus { nodes, leader: 1, ..ClusterStatus::default() }
    }

    #[test]
    fn what_is_missing_is_said() {
        let whole = vec![node(1, NodeRole::Leader), node(2, NodeRole::Follower)];
        assert_eq!(missing(&status(whole.clone()), 2), None);
        let with = |change: fn(&mut NodeStatus)| {
            let mut nodes = whole.clone();
            change(nodes.last_mut().expect("two"));
            status(nodes)
        };
        let table = [
            (missing(&status(whole.clone()), 3), "2 of 3 nodes are members"),
            (missing(&ClusterStatus { leader: 0, ..status(whole.clone()) }, 2), "nobody leads"),
            (missing(&with(|node| node.sealed = true), 2), "node-2 is sealed"),
            (missing(&with(|node| node.reachable = false), 2), "node-2 is not reachable"),
            (missing(&with(|node| node.set_role(NodeRole::Learner)), 2), "node-2 is a learner"),
            (without_authority(&with(|node| node.authority_state.clear())), "the authority of node-2 is ``"),
        ];
        for (found, expected) in table {
            assert_eq!(found.as_deref(), Some(expected));
        }
        assert_eq!(without_authority(&status(whole)), None);
    }
}
