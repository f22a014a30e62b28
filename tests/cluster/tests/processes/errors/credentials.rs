//! Credentials that are not good, and good ones that may not do what they ask for.

use expect_test::expect;
use proto::cluster::v1 as cluster;
use proto::kms::v1 as kms;
use types::Reason;

use super::Told;
use crate::support::{Cluster, Operator, Plan, create_key, refusal, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_revoked_and_expired_credentials_get_one_answer() {
    let cluster = Cluster::form(Plan::of(1)).await;
    let root = cluster.client().await;
    let key = create_key(&root, "orders").await;
    let foreign = Operator::new(&cluster.scratch().join("foreign"), "operators/root");
    let foreign = cluster.client_to(&foreign, &[0]).await;
    let revoked = cluster.enrol("revoked", None).await;
    let revoked = cluster.client_to(&revoked, &[0]).await;
    let expired = cluster.enrol("expired", Some(2)).await;
    let expired = cluster.client_to(&expired, &[0]).await;
    for client in [&revoked, &expired] {
        client.cluster().who_am_i(cluster::WhoAmIRequest {}).await.expect("is enrolled");
    }
    let revoke = cluster::RevokeOperatorRequest { name: "operators/revoked".into(), ..Default::default() };
    root.operators().revoke(revoke).await.expect("revokes");
    until("the enrolment to expire", async || expired.cluster().who_am_i(cluster::WhoAmIRequest {}).await.is_err())
        .await;
    let mut answers = Vec::new();
    for client in [&foreign, &revoked, &expired] {
        let get = kms::GetKeyRequest { name: key.clone() };
        let encrypt = kms::EncryptRequest { name: key.clone(), plaintext: b"x".to_vec(), ..Default::default() };
        let rotate = kms::RotateKeyRequest { name: key.clone(), ..Default::default() };
        answers.push(refusal(client.cluster().who_am_i(cluster::WhoAmIRequest {}).await));
        answers.push(refusal(client.keys().get(get).await));
        answers.push(refusal(client.crypto().encrypt(encrypt).await));
        answers.push(refusal(client.keys().rotate(rotate).await));
    }
    let text = "the credential is unknown, revoked or expired: use an enrolled identity (CHANCERY_IDENTITY)";
    for answer in answers {
        assert_eq!(answer, (Reason::CredentialRejected, text.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_seen_looks_as_if_it_were_not_there() {
    let cluster = Cluster::form(Plan::of(1)).await;
    let root = cluster.client().await;
    create_key(&root, "there").await;
    let nobody = cluster.enrol("nobody", None).await;
    let nobody = cluster.client_to(&nobody, &[0]).await;
    // Each question twice: of a key that is there and of one that is not.
    let ask = async |key: &str| {
        let name = format!("namespaces/default/keys/{key}");
        let encrypt = kms::EncryptRequest { name: name.clone(), ..Default::default() };
        let create =
            kms::CreateKeyRequest { parent: "namespaces/default".into(), key_id: key.into(), ..Default::default() };
        let mut told = Told::default();
        told.add("get", nobody.keys().get(kms::GetKeyRequest { name: name.clone() }).await);
        told.add("encrypt", nobody.crypto().encrypt(encrypt).await);
        told.add("create", nobody.keys().create(create).await);
        let rotate = kms::RotateKeyRequest { name: name.clone(), ..Default::default() };
        told.add("rotate", nobody.keys().rotate(rotate).await);
        told.add(
            "versions",
            nobody.keys().versions(kms::ListKeyVersionsRequest { parent: name, ..Default::default() }).await,
        );
        told.0
    };
    let (there, not_there) = (ask("there").await, ask("three").await);
    assert_eq!(there.replace("`there`", "`three`"), not_there);
    expect![[r#"
        get: key `there` was not found, or you may not see it (NOT_FOUND)
        encrypt: key `there` was not found, or you may not see it (NOT_FOUND)
        create: key `there` was not found, or you may not see it (NOT_FOUND)
        rotate: key `there` was not found, or you may not see it (NOT_FOUND)
        versions: key `there` was not found, or you may not see it (NOT_FOUND)
    "#]]
    .assert_eq(&there);

    let list = |parent: &str| kms::ListKeysRequest { parent: parent.into(), ..Default::default() };
    let (_, there) = refusal(nobody.keys().list(list("namespaces/default")).await);
    let (_, not_there) = refusal(nobody.keys().list(list("namespaces/defauld")).await);
    assert_eq!(there.replace("`default`", "`defauld`"), not_there);
}

/// Cause of the cases `decrypt …`: a ciphertext names its key by a random id, and the refusal to decrypt used to name
/// that key to callers without any right in its namespace, and to tell ids that exist from others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_end_at_the_namespace() {
    let cluster = Cluster::form(Plan::of(1)).await;
    let root = cluster.client().await;
    for ns in ["a", "b"] {
        let request = cluster::CreateNamespaceRequest { namespace_id: ns.into(), ..Default::default() };
        root.namespaces().create(request).await.expect("creates");
        let parent = format!("namespaces/{ns}");
        let request = kms::CreateKeyRequest { parent, key_id: "orders".into(), ..Default::default() };
        root.keys().create(request).await.expect("creates");
    }
    let user = cluster.enrol("user", None).await;
    cluster.grant(&user, "key-user", "namespaces/a").await;
    let user = cluster.client_to(&user, &[0]).await;
    let encrypt = |ns: &str| kms::EncryptRequest {
        name: format!("namespaces/{ns}/keys/orders"),
        plaintext: b"x".to_vec(),
        ..Default::default()
    };
    let decrypt = |ns: &str, ciphertext: &[u8]| kms::DecryptRequest {
        parent: format!("namespaces/{ns}"),
        ciphertext: ciphertext.to_vec(),
        ..Default::default()
    };
    let mine = user.crypto().encrypt(encrypt("a")).await.expect("encrypts").ciphertext;
    user.crypto().decrypt(decrypt("a", &mine)).await.expect("decrypts");
    let other = root.crypto().encrypt(encrypt("b")).await.expect("encrypts").ciphertext;

    let mut told = Told::default();
    told.add("encrypt there", user.crypto().encrypt(encrypt("b")).await);
    told.add("decrypt there", user.crypto().decrypt(decrypt("b", &other)).await);
    let mut unknown = other.clone();
    unknown[10] ^= 1;
    told.add("decrypt an unknown key's there", user.crypto().decrypt(decrypt("b", &unknown)).await);
    told.add("decrypt nothing there", user.crypto().decrypt(decrypt("b", b"")).await);
    told.add("decrypt nowhere", user.crypto().decrypt(decrypt("c", &other)).await);
    told.add("decrypt as mine", user.crypto().decrypt(decrypt("a", &other)).await);
    let get = kms::GetKeyRequest { name: "namespaces/b/keys/orders".into() };
    told.add("get there", user.keys().get(get).await);
    let list = kms::ListKeysRequest { parent: "namespaces/b".into(), ..Default::default() };
    told.add("list there", user.keys().list(list).await);
    let move_out = kms::ReEncryptRequest {
        parent: "namespaces/a".into(),
        ciphertext: mine,
        destination_name: "namespaces/b/keys/orders".into(),
        ..Default::default()
    };
    told.add("re-encrypt to there", user.crypto().re_encrypt(move_out).await);
    let rotate = kms::RotateKeyRequest { name: "namespaces/a/keys/orders".into(), ..Default::default() };
    told.add("rotate mine", user.keys().rotate(rotate).await);
    let token = cluster::CreateJoinTokenRequest { kind: cluster::JoinTokenKind::Node.into(), ..Default::default() };
    told.add("admit a node", user.cluster().create_join_token(token).await);
    expect![[r#"
        encrypt there: key `orders` was not found, or you may not see it (NOT_FOUND)
        decrypt there: namespace `b` was not found, or you may not see it (NOT_FOUND)
        decrypt an unknown key's there: namespace `b` was not found, or you may not see it (NOT_FOUND)
        decrypt nothing there: namespace `b` was not found, or you may not see it (NOT_FOUND)
        decrypt nowhere: namespace `c` was not found, or you may not see it (NOT_FOUND)
        decrypt as mine: ciphertext or context does not verify (INVALID_CIPHERTEXT)
        get there: key `orders` was not found, or you may not see it (NOT_FOUND)
        list there: namespace `b` was not found, or you may not see it (NOT_FOUND)
        re-encrypt to there: key `orders` was not found, or you may not see it (NOT_FOUND)
        rotate mine: you may not do this to key `orders`, ask an admin for a role that allows it (PERMISSION_DENIED)
        admit a node: you may not do this, ask an admin for a role that allows it (PERMISSION_DENIED)
    "#]]
    .assert_eq(&told.0);
}
