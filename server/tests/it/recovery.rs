//! An admin when none is left: on proof of a seal, on the machine of a node that runs.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use chancery_client::tls::Identity;
use crypto::sign::P256Signer;
use proto::audit::v1 as audit;
use proto::cluster::v1 as wire;
use proto::cluster::v1::seal_service_client::SealServiceClient;
use server::config::SealKind;
use types::Reason;

use crate::support::{Cluster, PASSPHRASE, now, until};

const SOON: Duration = Duration::from_secs(30);

fn asks(name: &str, signer: &P256Signer) -> wire::RecoverOperatorRequest {
    wire::RecoverOperatorRequest {
        operator_id: name.into(),
        spki: signer.spki_der(),
        request_id: chancery_client::api::request_id(),
        ..Default::default()
    }
}

async fn recover(
    cluster: &Cluster,
    index: usize,
    request: &wire::RecoverOperatorRequest,
) -> Result<wire::RecoverOperatorResponse, (Option<Reason>, String)> {
    let answer = cluster.local_seal(index).await.recover_operator(request.clone()).await;
    answer.map(tonic::Response::into_inner).map_err(|status| {
        let error = chancery_client::Error::from_status(&status);
        (error.reason(), status.message().to_owned())
    })
}

/// The only admin's enrolment ends, as it does for one who was away for too long.
async fn let_the_admin_expire(cluster: &Cluster) {
    let client = cluster.client().await;
    let operators = client.operators().list(wire::ListOperatorsRequest::default()).await.expect("lists").operators;
    assert_eq!(operators.len(), 1);
    let ttl = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let enrol = wire::EnrolOperatorRequest {
        operator_id: "root".into(),
        spki: cluster.operator_spki(),
        ttl,
        ..Default::default()
    };
    client.operators().enrol(enrol).await.expect("is limited");
    until("the last admin to expire", SOON, || async {
        let listed = client.operators().list(wire::ListOperatorsRequest::default()).await;
        listed.is_err_and(|error| error.reason() == Some(Reason::CredentialRejected))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn enough_shares_make_an_admin_when_none_is_left() {
    let mut cluster = Cluster::form_sealed(3, SealKind::Shamir).await;
    let shares = cluster.shares.clone();
    let_the_admin_expire(&cluster).await;
    let signer = P256Signer::generate();
    let ask = asks("rescue", &signer);

    // Whatever is not enough is refused in the words of unsealing, by each node.
    let two = wire::RecoverOperatorRequest { shares: shares[..2].to_vec(), ..ask.clone() };
    let twice = wire::RecoverOperatorRequest { shares: [&shares[..2], &shares[..1]].concat(), ..ask.clone() };
    let mut damaged = shares[..3].to_vec();
    let last = damaged[2].pop().expect("some text");
    damaged[2].push(if last == 'A' { 'B' } else { 'A' });
    let damaged = wire::RecoverOperatorRequest { shares: damaged, ..ask.clone() };
    let guessed = wire::RecoverOperatorRequest { passphrase: PASSPHRASE.to_vec(), ..ask.clone() };
    for wrong in [&two, &twice, &damaged, &guessed, &ask] {
        let (reason, text) = recover(&cluster, 1, wrong).await.expect_err("refuses");
        assert_eq!(reason, Some(Reason::UnsealFailed), "{text}");
    }

    // A sealed node has nothing to compare it with.
    cluster.stop(2).await;
    cluster.start(2).await;
    until("the node to answer", SOON, || async { cluster.answers(2).await }).await;
    let enough = wire::RecoverOperatorRequest { shares: shares[1..4].to_vec(), ..ask };
    let (reason, text) = recover(&cluster, 2, &enough).await.expect_err("refuses");
    assert_eq!(reason, Some(Reason::Sealed));
    assert!(text.contains("unseal it first"), "{text}");

    // From afar nobody is even asked for shares.
    let mut afar = SealServiceClient::new(cluster.channel(1));
    let refused = afar.recover_operator(enough.clone()).await.expect_err("refuses");
    assert_eq!(chancery_client::Error::from_status(&refused).reason(), Some(Reason::PermissionDenied));

    // A node that does not lead, then one that may: the same request enrols nobody else.
    for index in [1, 0] {
        let made = recover(&cluster, index, &enough).await.expect("recovers");
        assert_eq!(made.cluster_key_hash, cluster.key_hash().to_hex());
        assert_eq!(made.operator.expect("an operator").name, "operators/rescue");
    }
    let rescue = Identity::self_signed(&signer, "operators/rescue", now()).expect("an identity");
    let client = cluster.client_as(rescue).await;
    let operators = client.operators().list(wire::ListOperatorsRequest::default()).await.expect("lists").operators;
    let names: Vec<_> = operators.iter().map(|operator| (operator.name.as_str(), operator.revoked)).collect();
    assert_eq!(names, [("operators/rescue", false), ("operators/root", false)], "and nobody was changed");
    let recovery = operators[0].recovery.clone().expect("it is said");
    assert_eq!((recovery.node, recovery.opened_by.as_str()), (2, "shamir, shares 2, 3, 4"));
    let status = client.cluster().status(wire::GetStatusRequest {}).await.expect("a status");
    assert_eq!(status.recovered_operators.len(), 1);
    // Its own word for itself says nothing.
    let again =
        wire::EnrolOperatorRequest { operator_id: "rescue".into(), spki: signer.spki_der(), ..Default::default() };
    assert!(client.operators().enrol(again).await.expect("prolongs").recovery.is_some());
    // It administers.
    let create = wire::CreateNamespaceRequest { namespace_id: "later".into(), ..Default::default() };
    client.namespaces().create(create).await.expect("creates");

    let search = audit::SearchRequest { resource: "operators/rescue".into(), page_size: 100, ..Default::default() };
    let mut found = Vec::new();
    until("the records", SOON, || async {
        client.audit().search(search.clone()).await.is_ok_and(|page| page.records.len() >= 2)
    })
    .await;
    found.extend(client.audit().search(search).await.expect("searches").records);
    let recovered: Vec<_> = found.iter().filter(|record| record.principal == "seal").collect();
    assert!(!recovered.is_empty(), "{found:?}");
    assert!(format!("{recovered:?}").contains("shamir, shares 2, 3, 4"), "{recovered:?}");
    assert!(!format!("{found:?}").contains("chs1."), "no share is in a record");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_right_passphrase_makes_an_admin_and_a_wrong_one_is_recorded() {
    let cluster = Cluster::form_sealed(1, SealKind::Passphrase).await;
    let signer = P256Signer::generate();
    let ask = asks("rescue", &signer);
    for wrong in [&b""[..], b"not the passphrase of it"] {
        let wrong = wire::RecoverOperatorRequest { passphrase: wrong.to_vec(), ..ask.clone() };
        recover(&cluster, 0, &wrong).await.expect_err("refuses");
    }
    let right = wire::RecoverOperatorRequest { passphrase: PASSPHRASE.to_vec(), ..ask };
    recover(&cluster, 0, &right).await.expect("recovers");
    let client = cluster.client().await;
    let search = audit::SearchRequest { principal: "local-admin".into(), page_size: 100, ..Default::default() };
    until("the record of the guess", SOON, || async {
        let found = client.audit().search(search.clone()).await;
        found.is_ok_and(|found| {
            let tried = |record: &&audit::Record| record.action == "SealService.RecoverOperator";
            found.records.iter().filter(tried).any(|record| format!("{record:?}").contains("UNSEAL_FAILED"))
        })
    })
    .await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_file_seal_makes_an_admin_of_whoever_is_on_its_machine() {
    let cluster = Cluster::form(1).await;
    let signer = P256Signer::generate();
    let made = recover(&cluster, 0, &asks("rescue", &signer)).await.expect("recovers");
    let recovery = made.operator.and_then(|operator| operator.recovery).expect("it is said");
    assert_eq!(recovery.opened_by, "file");
    let other = P256Signer::generate();
    let (reason, _) = recover(&cluster, 0, &asks("root", &other)).await.expect_err("refuses");
    assert_eq!(reason, Some(Reason::AlreadyExists), "an operator that there is stays as it is");
    cluster.stop_all().await;
}
