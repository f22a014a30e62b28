//! Join tokens that open nothing.

use chancery_client::token::JoinToken;
use expect_test::expect;
use proto::ca::v1::RedeemAgentTokenRequest;
use proto::cluster::v1 as cluster;
use types::Time;

use super::Told;
use crate::support::{Cluster, Node, Operator, Plan, join_token, seconds, status, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn used_expired_and_foreign_tokens_admit_nobody() {
    let (cluster, other) = (Cluster::form(Plan::of(1)).await, Cluster::form(Plan::of(1)).await);
    let root = cluster.client().await;
    let (first, second) = (stranger(&cluster, "first").await, stranger(&cluster, "second").await);
    let redeem = |token: &str| RedeemAgentTokenRequest { token: token.into(), ..Default::default() };
    let mut told = Told::default();

    let token = join_token(&root, Some("dev")).await;
    first.agents().redeem_token(redeem(&token)).await.expect("redeems");
    told.add("used", second.agents().redeem_token(redeem(&token)).await);

    let request = cluster::CreateJoinTokenRequest {
        kind: cluster::JoinTokenKind::Agent.into(),
        agent_id: "late".into(),
        ttl: Some(seconds(1)),
        ..Default::default()
    };
    let late = root.cluster().create_join_token(request).await.expect("makes a token").token;
    let expires = JoinToken::parse(&late).expect("a token").expires;
    until("state time to pass the token's end", async || {
        let time = status(&root).await.and_then(|status| status.state_time);
        time.is_some_and(|time| Time(u64::try_from(time.seconds).expect("after 1970") * 1_000) > expires)
    })
    .await;
    told.add("expired", second.agents().redeem_token(redeem(&late)).await);

    let foreign = join_token(&other.client().await, Some("dev")).await;
    told.add("of another cluster", second.agents().redeem_token(redeem(&foreign)).await);
    let node = join_token(&root, None).await;
    told.add("for a node", second.agents().redeem_token(redeem(&node)).await);
    told.add("cut", second.agents().redeem_token(redeem(&node[..node.len() - 3])).await);
    told.add("none", second.agents().redeem_token(redeem("")).await);
    expect![[r#"
        used: the join token is unknown, used or expired, ask an admin for a new one (TOKEN_REJECTED)
        expired: the join token is unknown, used or expired, ask an admin for a new one (TOKEN_REJECTED)
        of another cluster: the join token is unknown, used or expired, ask an admin for a new one (TOKEN_REJECTED)
        for a node: the join token is unknown, used or expired, ask an admin for a new one (TOKEN_REJECTED)
        cut: the join token is unknown, used or expired, ask an admin for a new one (TOKEN_REJECTED)
        none: the join token is unknown, used or expired, ask an admin for a new one (TOKEN_REJECTED)
    "#]]
    .assert_eq(&told.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_with_the_same_token_does_not_start() {
    let mut cluster = Cluster::form(Plan::of(1)).await;
    let client = cluster.client().await;
    let token = join_token(&client, None).await;
    let mut second = Node::new(cluster.scratch(), 2, Plan::of(1));
    second.join(&token);
    cluster.nodes.push(second);
    cluster.all_vote(&client).await;
    let mut third = Node::new(cluster.scratch(), 3, Plan::of(1));
    third.join(&token);
    expect!["error: the join token is unknown, used or expired, ask an admin for a new one (TOKEN_REJECTED)"]
        .assert_eq(&third.refuses_to_start());
    let members = status(&client).await.expect("a status").nodes;
    assert_eq!(members.len(), 2, "{members:?}");
}

/// Somebody with a key that nobody has enrolled.
async fn stranger(cluster: &Cluster, name: &str) -> chancery_client::Client {
    let bearer = Operator::new(&cluster.scratch().join(name), name);
    cluster.client_to(&bearer, &[0]).await
}
