//! `init`: the first entry of every log makes the cluster, its first node, its first operator and the namespace
//! `default`.

use types::{Binding, Generation, NamespaceName, NodeId, Principal, Reason, Role, Scope};

use super::{checks, namespaces};
use crate::command::{Command, Proposal, Reply};
use crate::outcome::Effect;
use crate::rows::{Cluster, Granted, Namespace, NamespaceSettings, Node, Operator};
use crate::turn::{Handled, Turn, refuse};

pub(crate) fn init(turn: &mut Turn<'_>, proposal: &Proposal) -> Handled {
    let Command::Init {
        cluster,
        trust_domain,
        cluster_spki,
        cluster_key_wrapped,
        node,
        info,
        operator,
        operator_spki,
        operator_expires,
        namespace_kek_wrapped,
        namespace_id,
    } = &proposal.command
    else {
        return refuse(Reason::Internal, "not an init");
    };
    // No node has reported a clock yet, so the first node's own reading starts state time.
    let now = proposal.at;
    checks::wrapped(cluster_key_wrapped)?;
    checks::wrapped(namespace_kek_wrapped)?;
    checks::address("peer", &info.peer_address)?;
    checks::address("API", &info.api_address)?;
    checks::enrolment(*operator_expires, now)?;
    if *node == NodeId::default() || info.spki == *operator_spki || cluster_spki.is_empty() {
        return refuse(
            Reason::InvalidArgument,
            "the first node needs a number, and node, operator and cluster a key each",
        );
    }
    let settings = NamespaceSettings::default();
    namespaces::check(&settings)?;

    let revision = turn.revision;
    turn.now = now;
    turn.state.progress_mut().time = now;
    turn.state.progress_mut().last_node = *node;
    turn.state.put_cluster(Cluster {
        id: *cluster,
        trust_domain: trust_domain.clone(),
        spki: cluster_spki.clone(),
        key_wrapped: cluster_key_wrapped.clone(),
        generation: Generation::FIRST,
        formed: now,
    });
    turn.state.put_node(*node, Node { info: info.clone(), votes: true, replaces: None, admitted: now, revision });
    let principal = Principal::Operator(operator.clone());
    turn.state.put_operator(
        operator.clone(),
        Operator { spki: *operator_spki, enrolled: now, expires: *operator_expires, revoked: None, revision },
    );
    turn.state.put_binding(
        Binding { principal: principal.clone(), role: Role::Admin, scope: Scope::Cluster },
        Granted { at: now, revision },
    );
    turn.state.put_namespace(
        NamespaceName::default_namespace(),
        Namespace::open(*namespace_id, settings, namespace_kek_wrapped.clone(), now, revision),
    );
    turn.bump_global();
    turn.bump_bundle();
    turn.effect(Effect::PrincipalChanged(principal));
    turn.fact_text("trust_domain", trust_domain.as_str());
    turn.fact_text("operator", operator.as_str());
    turn.fact_count("node", node.0);
    Ok(Reply::Node(*node))
}
