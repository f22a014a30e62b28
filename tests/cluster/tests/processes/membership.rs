//! Members that go, come and rise: removed nodes serve nobody and never come back, learners serve everybody, a
//! replacement takes the place of the old one.

use chancery_client::Client;
use crypto::sign::P256Signer;
use proto::audit::v1 as audit;
use proto::ca::v1 as ca_wire;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;
use types::Reason;

use crate::support::{Cluster, Operator, Plan, create_key, join_token, refusal, seconds, status, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_stops_serving_and_its_folder_never_comes_back() {
    let mut cluster = Cluster::form(Plan::of(3)).await;
    let client = cluster.client().await;
    create_key(&client, "orders").await;
    let victim = (cluster.leader(&client).await + 1) % 3;
    let number = victim as u64 + 1;
    let (own, rest) = (cluster.impatient(victim).await, others(&cluster, victim).await);
    own.keys().list(list()).await.expect("serves");

    let done = remove(&cluster, victim, &[]);
    assert!(done.contains(&format!("node-{number} was removed")), "{done}");
    let found = status(&rest).await.expect("a status");
    assert_eq!(found.nodes.iter().filter(|node| node.node == number).count(), 0, "{found:?}");
    refuses_as_removed(&own).await;
    let rotated = rest.keys().rotate(rotate()).await.expect("the rest goes on");
    assert_eq!(rotated.primary_version, 2);
    let removal = removal(&rest).await;
    assert!(format!("{removal:?}").contains("anchored to its end"), "{removal:?}");

    cluster.nodes[victim].stop();
    cluster.nodes[victim].start(&[]);
    let said = cluster.nodes[victim].refuses_to_start();
    assert!(said.contains(&format!("node-{number}, which was removed from cluster {}", cluster.id)), "{said}");
    // With a token it does not come back either; an empty folder is a new node.
    let token = join_token(&rest, None).await;
    cluster.nodes[victim].join(&token);
    assert!(cluster.nodes[victim].refuses_to_start().contains("does not come back"));
    std::fs::remove_dir_all(cluster.nodes[victim].dir()).expect("wipes the disk");
    cluster.nodes[victim].join(&token);
    until("a new node with a new number", async || voters(&rest).await.contains(&4)).await;
    assert!(!voters(&rest).await.contains(&number));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_removed_as_well_and_of_two_voters_one() {
    let cluster = Cluster::form(Plan::of(3)).await;
    let client = cluster.client().await;
    create_key(&client, "orders").await;
    let first = cluster.leader(&client).await;
    let own = cluster.impatient(first).await;
    remove(&cluster, first, &[]);
    refuses_as_removed(&own).await;
    let rest = others(&cluster, first).await;
    assert_eq!(rest.keys().rotate(rotate()).await.expect("goes on").primary_version, 2);
    // Two voters: the one that goes is needed for the majority that lets it go.
    let second = cluster.leader(&rest).await;
    remove(&cluster, second, &[]);
    let last = (0..3).find(|node| *node != first && *node != second).expect("one is left");
    let alone = cluster.client_of(last).await;
    assert_eq!(alone.keys().rotate(rotate()).await.expect("goes on").primary_version, 3);
    let request = wire::RemoveNodeRequest { node: last as u64 + 1, force: true, ..Default::default() };
    let (reason, text) = refusal(alone.cluster().remove_node(request).await);
    assert_eq!((reason, text.contains("last voter")), (Reason::PreconditionFailed, true), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_down_when_it_was_removed_finds_out() {
    let mut cluster = Cluster::form(Plan::of(3)).await;
    let client = cluster.client().await;
    let leader = cluster.leader(&client).await;
    let (victim, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.nodes[victim].kill();
    let rest = others(&cluster, victim).await;
    let request = |node: usize, force| {
        let request_id = chancery_client::api::request_id();
        wire::RemoveNodeRequest { node: node as u64 + 1, force, request_id, ..Default::default() }
    };
    let (reason, text) = refusal(rest.cluster().remove_node(request(victim, false)).await);
    assert_eq!((reason, text.contains("cannot be closed")), (Reason::PreconditionFailed, true), "{text}");
    let (reason, text) = refusal(rest.cluster().remove_node(request(other, false)).await);
    assert_eq!((reason, text.contains("1 are up and 2 are needed")), (Reason::PreconditionFailed, true), "{text}");
    assert_eq!(status(&rest).await.expect("a status").nodes.len(), 3, "nothing was removed");

    remove(&cluster, victim, &["--force"]);
    let removal = removal(&rest).await;
    assert!(format!("{removal:?}").contains("unknown after audit_size"), "{removal:?}");
    cluster.nodes[victim].start(&[]);
    refuses_as_removed(&cluster.impatient(victim).await).await;
    cluster.nodes[victim].stop();
    cluster.nodes[victim].start(&[]);
    assert!(cluster.nodes[victim].refuses_to_start().contains("does not come back"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_serves_reads_uses_and_certificates_and_votes_when_it_is_told_to() {
    let mut cluster = Cluster::form(Plan::of(1)).await;
    let client = cluster.client().await;
    let key = create_key(&client, "orders").await;
    let agent = agent_with_an_entry(&cluster, &client).await;
    let token = join_token(&client, None).await;
    let learner = cluster.join(&token, &["--learner"]);
    until("the learner", async || {
        let status = status(&client).await;
        let node = status.as_ref().and_then(|status| status.nodes.iter().find(|node| node.node == 2));
        node.is_some_and(|node| node.role() == wire::NodeRole::Learner && !node.voter)
    })
    .await;
    let address = cluster.nodes[learner].api();
    client.refresh_trust().await.expect("learns of it");
    let own = client.at(&address).expect("a client of it");
    own.keys().list(list()).await.expect("reads");
    let request = kms::EncryptRequest { name: key, plaintext: b"x".to_vec(), ..Default::default() };
    until("the learner's lease", async || own.crypto().encrypt(request.clone()).await.is_ok()).await;
    // It has no authority: what it hands out was signed by a voter, and that one's log has the record.
    let through = cluster.client_to(&agent, &[0]).await.at(&address).expect("a client of it");
    let before = issuances(&client).await;
    let issued = through.svids().issue_x509(order()).await.expect("issues");
    assert_eq!(issued.spiffe_id, "spiffe://test.chancery/ns/default/api");
    assert_eq!(issuances(&client).await, before + 1, "recorded once, where it was signed");
    assert_eq!(issuances(&own).await, 0, "the learner records nothing");
    // Whoever may not has no certificate through it either.
    let stranger = Operator::new(&cluster.scratch().join("stranger"), "agents/stranger");
    let stranger = cluster.client_to(&stranger, &[0]).await.at(&address).expect("a client of it");
    assert_eq!(refusal(stranger.svids().issue_x509(order()).await).0, Reason::CredentialRejected);

    let done = cluster.cli(&cluster.root, &["cluster", "promote", "2"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "node-2 votes\n");
    until("two voters", async || voters(&client).await == [1, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_takes_the_place_of_the_old_node() {
    let mut cluster = Cluster::form(Plan::of(3)).await;
    let client = cluster.client().await;
    let leader = cluster.leader(&client).await;
    let (dead, old) = ((leader + 1) % 3, leader);
    let own = cluster.impatient(old).await;
    // One that is dead, then the one that leads.
    cluster.nodes[dead].kill();
    for gone in [dead, old] {
        let done = cluster.cli(&cluster.root, &["cluster", "replace", &format!("node-{}", gone + 1)]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let new = cluster.join(String::from_utf8_lossy(&done.stdout).trim(), &[]);
        let rest = others(&cluster, dead).await;
        until("the old node to be gone and the new one to vote", async || {
            let voters = voters(&rest).await;
            voters.len() == 3 && voters.contains(&(new as u64 + 1)) && !voters.contains(&(gone as u64 + 1))
        })
        .await;
    }
    refuses_as_removed(&own).await;
    let rest = cluster.client_to(&cluster.root, &[3, 4]).await;
    create_key(&rest, "orders").await;
}

/// Runs `cluster remove` and returns what it says.
fn remove(cluster: &Cluster, node: usize, flags: &[&str]) -> String {
    let number = (node + 1).to_string();
    let done = cluster.cli(&cluster.root, &[&["cluster", "remove", &number], flags].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Waits until the node says that it was removed: it first drains, and one that was away asks the others after a while.
async fn refuses_as_removed(own: &Client) {
    until("the node to say that it was removed", async || {
        let listed = own.keys().list(list()).await;
        listed.is_err_and(|error| error.reason() == Some(Reason::Removed))
    })
    .await;
    let (reason, text) = refusal(own.cluster().status(wire::GetStatusRequest {}).await);
    assert_eq!((reason, text.contains("never serves again")), (Reason::Removed, true), "{text}");
}

async fn others(cluster: &Cluster, victim: usize) -> Client {
    let rest: Vec<usize> = (0..cluster.nodes.len()).filter(|node| *node != victim).collect();
    cluster.client_to(&cluster.root, &rest).await
}

/// The members that vote, as one of them says.
async fn voters(client: &Client) -> Vec<u64> {
    let votes = |node: &&wire::NodeStatus| matches!(node.role(), wire::NodeRole::Leader | wire::NodeRole::Follower);
    let status = status(client).await;
    status.map(|status| status.nodes.iter().filter(votes).map(|node| node.node).collect()).unwrap_or_default()
}

/// The record of the newest removal.
async fn removal(client: &Client) -> audit::Record {
    let mut found = None;
    until("the record of the removal", async || {
        let request = audit::SearchRequest { resource: "nodes/".into(), ..Default::default() };
        let records = client.audit().search(request).await.map(|found| found.records).unwrap_or_default();
        found =
            records.into_iter().find(|record| record.action == "ClusterService.RemoveNode" && record.log == "cluster");
        found.is_some()
    })
    .await;
    found.expect("there is one")
}

/// How many certificates the answering node's own log says were issued.
async fn issuances(client: &Client) -> usize {
    let request = audit::SearchRequest { principal: "agents/edge".into(), ..Default::default() };
    let found = client.audit().search(request).await.expect("searches").records;
    found.iter().filter(|record| record.action == "SvidService.IssueX509Svid" && record.outcome == "allow").count()
}

/// An agent with a workload, issued to once so that the first voter is known to be able to.
async fn agent_with_an_entry(cluster: &Cluster, client: &Client) -> Operator {
    let agent = Operator::new(&cluster.scratch().join("edge"), "agents/edge");
    let own = cluster.client_to(&agent, &[0]).await;
    let token = join_token(client, Some("edge")).await;
    own.agents().redeem_token(ca_wire::RedeemAgentTokenRequest { token, ..Default::default() }).await.expect("enrols");
    let entry = ca_wire::Entry {
        path: "/ns/default/api".into(),
        parent_agent: "agents/edge".into(),
        selectors: vec!["unix:uid:1000".into()],
        svid_ttl: Some(seconds(3_600)),
        ..Default::default()
    };
    let request = ca_wire::CreateEntryRequest {
        parent: "namespaces/default".into(),
        entry_id: "api".into(),
        entry: Some(entry),
        ..Default::default()
    };
    client.entries().create(request).await.expect("registers");
    until("the first certificate", async || own.svids().issue_x509(order()).await.is_ok()).await;
    agent
}

fn order() -> ca_wire::IssueX509SvidRequest {
    let csr = ca::certificate_request(&P256Signer::generate()).expect("a request");
    ca_wire::IssueX509SvidRequest { entry: "namespaces/default/entries/api".into(), csr }
}

fn list() -> kms::ListKeysRequest {
    kms::ListKeysRequest { parent: "namespaces/default".into(), ..Default::default() }
}

fn rotate() -> kms::RotateKeyRequest {
    kms::RotateKeyRequest { name: "namespaces/default/keys/orders".into(), ..Default::default() }
}
