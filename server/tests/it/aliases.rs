//! Aliases on nodes: a move is seen everywhere when it is acknowledged, an alias stands for its key in every call, and one
//! that there is not looks like a key that there is not.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use chancery_client::tls::Identity;
use chancery_client::{Client, Error};
use crypto::sign::P256Signer;
use proto::audit::v1 as audit;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;
use proto::kms::v1::Algorithm;
use types::Reason;

use crate::support::{Cluster, until};

const PARENT: &str = "namespaces/default";
const CURRENT: &str = "namespaces/default/aliases/current";
const SOON: Duration = Duration::from_secs(60);

async fn create(client: &Client, id: &str, algorithm: Algorithm) -> kms::Key {
    let request = kms::CreateKeyRequest {
        parent: PARENT.into(),
        key_id: id.into(),
        algorithm: algorithm.into(),
        ..Default::default()
    };
    client.keys().create(request).await.expect("creates")
}

async fn alias(client: &Client, id: &str, key: &str) -> Result<kms::Alias, Error> {
    let request =
        kms::CreateAliasRequest { parent: PARENT.into(), alias_id: id.into(), key: key.into(), ..Default::default() };
    client.keys().create_alias(request).await
}

async fn give(client: &Client, name: &str, key: &str) -> Result<kms::Alias, Error> {
    let request = kms::UpdateAliasRequest { name: name.into(), key: key.into(), ..Default::default() };
    client.keys().update_alias(request).await
}

fn encrypt(name: &str) -> kms::EncryptRequest {
    kms::EncryptRequest { name: name.into(), plaintext: b"x".to_vec(), ..Default::default() }
}

/// The key that a ciphertext names (docs/spec/ciphertext.md).
fn key_id(ciphertext: &[u8]) -> String {
    hex::encode(ciphertext.get(6..22).unwrap_or_default())
}

fn reason<T>(answer: Result<T, Error>) -> Result<(), Option<Reason>> {
    answer.map(drop).map_err(|error| error.reason())
}

/// What a refusal says, with the name that was asked for taken out.
fn said<T>(answer: Result<T, Error>, name: &str) -> String {
    let error = answer.map(drop).expect_err("is refused");
    format!("{:?}: {}", error.reason(), error.to_string().replace(&format!("`{name}`"), "it"))
}

/// Encryptions on each node begin in the very moment in which the move was acknowledged: none uses the key before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_move_is_seen_on_every_node_when_it_is_acknowledged() {
    let cluster = Cluster::form(3).await;
    let nodes = [cluster.client_of_node(0).await, cluster.client_of_node(1).await, cluster.client_of_node(2).await];
    let keys =
        [create(&nodes[0], "blue", Algorithm::Aes256Gcm).await, create(&nodes[0], "green", Algorithm::Aes256Gcm).await];
    alias(&nodes[0], "current", &keys[0].name).await.expect("creates");
    let mut kept = Vec::new();
    for node in &nodes {
        // One that has not applied it yet asks for a newer state.
        let made = node.crypto().encrypt(encrypt(CURRENT)).await.expect("encrypts");
        assert_eq!(key_id(&made.ciphertext), keys[0].key_id);
        kept.push(made.ciphertext);
    }
    for round in 1..=30_usize {
        let to = &keys[round % 2];
        let moved = give(&nodes[round % 3], CURRENT, &to.name).await.expect("moves");
        assert_eq!(moved.key, to.name);
        let asked = nodes.iter().map(|node| async move { node.crypto().encrypt(encrypt(CURRENT)).await });
        for made in futures::future::join_all(asked).await {
            assert_eq!(key_id(&made.expect("encrypts").ciphertext), to.key_id, "round {round}");
        }
    }
    for ciphertext in kept {
        let decrypt = kms::DecryptRequest { parent: PARENT.into(), ciphertext, ..Default::default() };
        let opened = nodes[2].crypto().decrypt(decrypt).await.expect("decrypts");
        assert_eq!((opened.key, opened.plaintext), (keys[0].name.clone(), b"x".to_vec()), "a move breaks nothing");
    }
    let delete = kms::DeleteAliasRequest { name: CURRENT.into(), ..Default::default() };
    nodes[1].keys().delete_alias(delete).await.expect("deletes");
    for node in &nodes {
        assert_eq!(reason(node.crypto().encrypt(encrypt(CURRENT)).await), Err(Some(Reason::NotFound)));
    }
    cluster.stop_all().await;
}

/// A follower that has died may be one that is cut off and serves on: a move is not acknowledged while it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_move_waits_for_a_node_that_may_still_use_the_key_before() {
    let mut cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let client = cluster.client_of_node(leader).await;
    let blue = create(&client, "blue", Algorithm::Aes256Gcm).await;
    let green = create(&client, "green", Algorithm::Aes256Gcm).await;
    alias(&client, "current", &blue.name).await.expect("creates");
    cluster.kill((leader + 1) % 3).await;
    let mut raw = kms::key_service_client::KeyServiceClient::new(cluster.channel(leader));
    let to_green = kms::UpdateAliasRequest { name: CURRENT.into(), key: green.name.clone(), ..Default::default() };
    let pending = raw.update_alias(to_green).await.expect_err("is not acknowledged yet");
    assert_eq!(pending.code(), tonic::Code::DeadlineExceeded, "{pending}");
    // Committed all the same; and what only adds waits for nobody.
    let made = client.crypto().encrypt(encrypt(CURRENT)).await.expect("encrypts");
    assert_eq!(key_id(&made.ciphertext), green.key_id);
    let another = kms::CreateAliasRequest {
        parent: PARENT.into(),
        alias_id: "another".into(),
        key: blue.name.clone(),
        ..Default::default()
    };
    raw.create_alias(another).await.expect("creates");
    let delete = kms::DeleteAliasRequest { name: CURRENT.into(), ..Default::default() };
    let pending = raw.delete_alias(delete).await.expect_err("is not acknowledged yet");
    assert_eq!(pending.code(), tonic::Code::DeadlineExceeded, "{pending}");
    cluster.stop_all().await;
}

/// What an answer says of the key, or why there is none.
fn told<T>(answer: Result<T, Error>, key: impl FnOnce(T) -> String) -> Result<String, Option<Reason>> {
    answer.map(key).map_err(|error| error.reason())
}

/// Each call that takes a key's name, with that name: what came of it.
async fn uses(client: &Client, name: &str, made: &Made) -> Vec<(&'static str, Result<String, Option<Reason>>)> {
    let (crypto, keys) = (client.crypto(), client.keys());
    let name = format!("{PARENT}/{name}");
    let message = b"m".to_vec();
    let data_key = kms::GenerateDataKeyRequest { name: name.clone(), ..Default::default() };
    let again = kms::ReEncryptRequest {
        parent: PARENT.into(),
        ciphertext: made.ciphertext.clone(),
        destination_name: name.clone(),
        ..Default::default()
    };
    let sign = kms::SignRequest { name: name.clone(), message: message.clone(), ..Default::default() };
    let (signature, version) = (made.signature.clone(), 1);
    let verify =
        kms::VerifyRequest { name: name.clone(), version, message: message.clone(), signature, ..Default::default() };
    let mac = kms::GenerateMacRequest { name: name.clone(), version, message: message.clone() };
    let verify_mac = kms::VerifyMacRequest { name: name.clone(), version, message, mac: made.mac.clone() };
    let decrypt = kms::AsymmetricDecryptRequest { name: name.clone(), version, ciphertext: vec![7; 256] };
    let public = kms::GetPublicKeyRequest { name: name.clone(), version: 0 };
    vec![
        ("get", told(keys.get(kms::GetKeyRequest { name: name.clone() }).await, |key| key.name)),
        ("public key", told(keys.public_key(public).await, |key| key.name)),
        ("encrypt", told(crypto.encrypt(encrypt(&name)).await, |made| key_id(&made.ciphertext))),
        ("data key", told(crypto.generate_data_key(data_key).await, |made| key_id(&made.wrapped))),
        ("encrypt again", told(crypto.re_encrypt(again).await, |made| made.key)),
        ("sign", told(crypto.sign(sign).await, |made| made.key)),
        ("verify", told(crypto.verify(verify).await, |_| String::new())),
        ("mac", told(crypto.generate_mac(mac).await, |made| made.key)),
        ("verify mac", told(crypto.verify_mac(verify_mac).await, |_| String::new())),
        ("asymmetric decrypt", told(crypto.asymmetric_decrypt(decrypt).await, |_| String::new())),
    ]
}

/// What one key of each kind has made.
struct Made {
    ciphertext: Vec<u8>,
    signature: Vec<u8>,
    mac: Vec<u8>,
}

/// A key of each kind, and an alias of the same name for each.
async fn of_each_kind(client: &Client) -> Made {
    for (id, algorithm) in [
        ("data", Algorithm::Aes256Gcm),
        ("signer", Algorithm::Ed25519),
        ("mac", Algorithm::HmacSha256),
        ("letters", Algorithm::RsaOaep2048Sha256),
    ] {
        let key = create(client, id, algorithm).await;
        alias(client, id, &key.name).await.expect("creates");
    }
    let crypto = client.crypto();
    let name = |id: &str| format!("{PARENT}/keys/{id}");
    let message = b"m".to_vec();
    let sign = kms::SignRequest { name: name("signer"), message: message.clone(), ..Default::default() };
    let mac = kms::GenerateMacRequest { name: name("mac"), version: 1, message };
    Made {
        ciphertext: crypto.encrypt(encrypt(&name("data"))).await.expect("encrypts").ciphertext,
        signature: crypto.sign(sign).await.expect("signs").signature,
        mac: crypto.generate_mac(mac).await.expect("makes").mac,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_alias_does_what_its_key_does_and_the_record_is_about_the_key() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let made = of_each_kind(&client).await;
    for id in ["data", "signer", "mac", "letters"] {
        let by_name = uses(&client, &format!("keys/{id}"), &made).await;
        let by_alias = uses(&client, &format!("aliases/{id}"), &made).await;
        assert_eq!(by_alias, by_name, "{id}");
    }
    let search = audit::SearchRequest { resource: format!("{PARENT}/keys/data"), page_size: 100, ..Default::default() };
    let recorded = || async {
        let records = client.audit().search(search.clone()).await.map(|found| found.records).unwrap_or_default();
        let of = |action: &str, outcome: &str| {
            let by_alias = |record: &&audit::Record| record.detail.get("alias").is_some_and(|alias| alias == "data");
            let own = records.iter().filter(|record| record.action == action && record.outcome == outcome);
            (own.clone().filter(by_alias).count(), own.count())
        };
        // One by the key's own name, one by the alias; what is refused names it too.
        of("CryptoService.Encrypt", "allow") == (1, 3) && of("CryptoService.Sign", "fail") == (1, 2)
    };
    until("records that name the alias", SOON, recorded).await;
    cluster.stop_all().await;
}

/// An operator of that name with that role in that scope; none: with no role at all.
async fn operator(cluster: &Cluster, name: &str, role: Option<(&str, &str)>) -> Client {
    let (client, signer) = (cluster.client().await, P256Signer::generate());
    let enrol = wire::EnrolOperatorRequest { operator_id: name.into(), spki: signer.spki_der(), ..Default::default() };
    client.operators().enrol(enrol).await.expect("enrols");
    if let Some((role, scope)) = role {
        let principal = format!("operators/{name}");
        let binding = Some(wire::Binding { principal, role: role.into(), scope: scope.into() });
        let grant = wire::GrantRoleRequest { binding, ..Default::default() };
        client.operators().grant_role(grant).await.expect("grants");
    }
    let identity = Identity::self_signed(&signer, &format!("operators/{name}"), crate::support::now());
    cluster.client_as(identity.expect("an identity")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_alias_that_there_is_not_looks_like_a_key_that_there_is_not() {
    let cluster = Cluster::form(1).await;
    let admin = cluster.client().await;
    let key = create(&admin, "orders", Algorithm::Aes256Gcm).await;
    alias(&admin, "current", &key.name).await.expect("creates");
    let ask = async |client: &Client, collection: &str, id: &str| {
        let name = format!("{PARENT}/{collection}/{id}");
        let used = said(client.crypto().encrypt(encrypt(&name)).await, id);
        (used, said(client.keys().get(kms::GetKeyRequest { name }).await, id))
    };
    let user = operator(&cluster, "user", Some(("key-user", PARENT))).await;
    assert_eq!(ask(&user, "aliases", "nothing").await, ask(&user, "keys", "nothing").await);
    // Whoever may not is told the same of every name, and not which key it is.
    for (name, role) in [("nobody", None), ("elsewhere", Some(("key-admin", PARENT)))] {
        let outsider = operator(&cluster, name, role).await;
        let of = async |collection: &str, id: &str| {
            let name = format!("{PARENT}/{collection}/{id}");
            said(outsider.crypto().encrypt(encrypt(&name)).await, id)
        };
        let there = of("keys", "orders").await;
        for (collection, id) in [("keys", "nothing"), ("aliases", "current"), ("aliases", "nothing")] {
            assert_eq!(of(collection, id).await, there, "{name}: {collection}/{id}");
        }
    }
    // And of the alias itself.
    let outsider = operator(&cluster, "outsider", None).await;
    let get = async |id: &str| {
        let name = format!("{PARENT}/aliases/{id}");
        said(outsider.keys().get_alias(kms::GetAliasRequest { name }).await, id)
    };
    assert_eq!(get("current").await, get("nothing").await);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn aliases_are_administered_like_everything_else() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let key = create(&client, "blue", Algorithm::Aes256Gcm).await;
    let other = create(&client, "green", Algorithm::Aes256Gcm).await;
    let made = alias(&client, "a", &key.name).await.expect("creates");
    assert_eq!((made.name.as_str(), &made.key), ("namespaces/default/aliases/a", &key.name));
    assert_eq!(reason(alias(&client, "a", &other.name).await), Err(Some(Reason::AlreadyExists)));
    assert_eq!(reason(alias(&client, "b", "namespaces/pay/keys/blue").await), Err(Some(Reason::InvalidArgument)));
    assert_eq!(reason(alias(&client, "b", &made.name).await), Err(Some(Reason::InvalidArgument)), "of no alias");
    alias(&client, "b", &other.name).await.expect("creates");

    // A rehearsal changes nothing, an etag binds, and a retry is answered.
    let to_green = kms::UpdateAliasRequest { name: made.name.clone(), key: other.name.clone(), ..Default::default() };
    let rehearsal = kms::UpdateAliasRequest { validate_only: true, ..to_green.clone() };
    assert_eq!(client.keys().update_alias(rehearsal).await.expect("would").key, other.name);
    let get = || async { client.keys().get_alias(kms::GetAliasRequest { name: made.name.clone() }).await };
    assert_eq!(get().await.expect("is there"), made);
    let seen = kms::UpdateAliasRequest {
        etag: made.etag.clone(),
        request_id: chancery_client::api::request_id(),
        ..to_green.clone()
    };
    let moved = client.keys().update_alias(seen.clone()).await.expect("moves");
    assert_eq!(client.keys().update_alias(seen).await.expect("is answered again"), moved);
    let late = kms::UpdateAliasRequest { etag: made.etag.clone(), ..to_green };
    assert_eq!(reason(client.keys().update_alias(late).await), Err(Some(Reason::PreconditionFailed)));

    let page = async |page_token| {
        let request = kms::ListAliasesRequest { parent: PARENT.into(), page_size: 1, page_token };
        let page = client.keys().list_aliases(request).await.expect("lists");
        (page.aliases.into_iter().map(|alias| alias.name).collect::<Vec<_>>(), page.next_page_token)
    };
    let (first, next) = page(String::new()).await;
    let (second, last) = page(next).await;
    assert_eq!([first, second].concat(), ["namespaces/default/aliases/a", "namespaces/default/aliases/b"]);
    assert_eq!(last, "");

    let delete = kms::DeleteAliasRequest { name: made.name.clone(), etag: made.etag.clone(), ..Default::default() };
    assert_eq!(reason(client.keys().delete_alias(delete.clone()).await), Err(Some(Reason::PreconditionFailed)));
    client.keys().delete_alias(kms::DeleteAliasRequest { etag: moved.etag, ..delete }).await.expect("deletes");
    assert_eq!(reason(get().await), Err(Some(Reason::NotFound)));
    cluster.stop_all().await;
}
