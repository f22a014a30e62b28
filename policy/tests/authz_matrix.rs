//! Everybody × every action, as a reviewed text file. `UPDATE_EXPECT=1 cargo test -p policy` writes it anew; read the
//! difference before it is committed.

#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use std::fmt::Write as _;

use policy::{Facts, Question, Resource, decide};
use types::{Action, AgentName, Binding, NamespaceName, NodeId, OperatorName, Principal, Role, Scope, SpiffeId};

struct Column {
    title: String,
    principal: Principal,
    bindings: Vec<Binding>,
    /// Whether the agent or node in the resource is the caller's own.
    own: bool,
}

fn ns(name: &str) -> NamespaceName {
    NamespaceName::parse(name).expect("a name")
}

fn agent(name: &str) -> AgentName {
    AgentName::parse(name).expect("a name")
}

fn columns() -> Vec<Column> {
    let operator = Principal::Operator(OperatorName::parse("alice").expect("a name"));
    let workload = Principal::Workload(SpiffeId::parse("spiffe://td/ns/pay/api").expect("an id"));
    let bound = |title: String, principal: &Principal, role, scope| Column {
        title,
        principal: principal.clone(),
        bindings: vec![Binding { principal: principal.clone(), role, scope }],
        own: true,
    };
    let plain = |title: &str, principal: &Principal, own| Column {
        title: title.to_owned(),
        principal: principal.clone(),
        bindings: Vec::new(),
        own,
    };
    let mut columns = vec![plain("operator without a role", &operator, true)];
    for role in Role::ALL {
        columns.push(bound(format!("operator, {role}, cluster"), &operator, role, Scope::Cluster));
    }
    for role in Role::ALL {
        columns.push(bound(format!("operator, {role}, this namespace"), &operator, role, Scope::Namespace(ns("pay"))));
    }
    for role in Role::ALL {
        columns.push(bound(
            format!("operator, {role}, another namespace"),
            &operator,
            role,
            Scope::Namespace(ns("other")),
        ));
    }
    columns.push(plain("workload without a role", &workload, true));
    for role in [Role::Admin, Role::KeyUser, Role::KeyEncrypter] {
        let scope = if role == Role::Admin { Scope::Cluster } else { Scope::Namespace(ns("pay")) };
        columns.push(bound(format!("workload, {role}, {scope}"), &workload, role, scope));
    }
    for (words, own) in [("its own", true), ("another's", false)] {
        columns.push(plain(&format!("agent, {words}"), &Principal::Agent(agent("edge")), own));
        columns.push(plain(&format!("node, {words}"), &Principal::Node(NodeId(1)), own));
    }
    columns.push(plain("local admin", &Principal::LocalAdmin, true));
    columns.push(plain("join token", &Principal::JoinToken, true));
    columns.push(plain("nobody", &Principal::Unauthenticated, true));
    columns.push(plain("seal", &Principal::Seal, true));
    columns
}

/// Where the action is done: what belongs to a namespace is asked for in `pay`, the rest in the cluster.
fn is_namespaced(action: Action) -> bool {
    let service = action.as_str().split('.').next().unwrap_or_default();
    matches!(service, "KeyService" | "CryptoService" | "EntryService" | "SvidService")
        || matches!(action, Action::GetNamespace | Action::UpdateNamespace)
}

#[test]
fn the_whole_table_is_the_reviewed_one() {
    let columns = columns();
    let mut table = String::from(
        "What each caller may do. A allowed · d denied, and told so · . denied in the words of \"not found\"\n\
         Key, crypto, entry and SVID calls are made in namespace `pay`; \"its own\" and \"another's\" are the entry's parent\n\
         agent and the node concerned.\n\n",
    );
    for (number, column) in columns.iter().enumerate() {
        writeln!(table, "{:>2} {}", number + 1, column.title).expect("writes");
    }
    write!(table, "\n{:34}", "").expect("writes");
    for number in 1..=columns.len() {
        write!(table, "{number:>3}").expect("writes");
    }
    table.push('\n');
    let (pay, edge, elsewhere) = (ns("pay"), agent("edge"), agent("elsewhere"));
    for action in Action::ALL {
        write!(table, "{:34}", action.as_str()).expect("writes");
        for Column { principal, bindings, own, .. } in &columns {
            let resource = Resource {
                namespace: is_namespaced(*action).then_some(&pay),
                agent: Some(if *own { &edge } else { &elsewhere }),
                node: Some(NodeId(if *own { 1 } else { 2 })),
            };
            let bindings: Vec<&Binding> = bindings.iter().collect();
            let facts = Facts { bindings: &bindings };
            let decision = decide(&Question { principal, action: *action, resource, facts });
            let sign = match (decision.is_allowed(), decision.visible) {
                (true, _) => 'A',
                (false, true) => 'd',
                (false, false) => '.',
            };
            write!(table, "{sign:>3}").expect("writes");
        }
        table.push('\n');
    }
    expect_test::expect_file!["authz-matrix.txt"].assert_eq(&table);
}
