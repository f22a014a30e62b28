//! What each algorithm's keys do, and that they do nothing else; what a version can still do once it is disabled or destroyed.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_client::{Client, Error, signing};
use crypto::asymmetric::{MessageHasher, Signed, oaep_encrypt};
use crypto::hash::HashFunction;
use proto::audit::v1 as audit;
use proto::kms::v1 as kms;
use proto::kms::v1::{Algorithm, Purpose};
use types::Reason;

use crate::support::{Cluster, until, without_waiting};

const PARENT: &str = "namespaces/default";
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

fn reason<T>(answer: Result<T, Error>) -> Result<(), Option<Reason>> {
    answer.map(drop).map_err(|error| error.reason())
}

fn sign(name: &str, message: &[u8]) -> kms::SignRequest {
    kms::SignRequest { name: name.into(), message: message.into(), ..Default::default() }
}

fn verify(name: &str, version: u32, message: &[u8], signature: &[u8]) -> kms::VerifyRequest {
    let (name, message, signature) = (name.into(), message.into(), signature.into());
    kms::VerifyRequest { name, version, message, signature, ..Default::default() }
}

async fn public_key(client: &Client, name: &str, version: u32) -> kms::PublicKey {
    let request = kms::GetPublicKeyRequest { name: name.into(), version };
    client.keys().public_key(request).await.expect("has a public half")
}

/// Each verb with that key; what it is refused with.
async fn every_verb(client: &Client, name: &str) -> Vec<(&'static str, Result<(), Option<Reason>>)> {
    let crypto = client.crypto();
    let plaintext = b"x".to_vec();
    let encrypt = kms::EncryptRequest { name: name.into(), plaintext, ..Default::default() };
    let data_key = kms::GenerateDataKeyRequest { name: name.into(), ..Default::default() };
    let mac = kms::GenerateMacRequest { name: name.into(), message: b"x".to_vec(), ..Default::default() };
    let verify_mac = kms::VerifyMacRequest { name: name.into(), version: 1, ..Default::default() };
    let decrypt = kms::AsymmetricDecryptRequest { name: name.into(), version: 1, ciphertext: vec![7; 256] };
    let public = kms::GetPublicKeyRequest { name: name.into(), version: 0 };
    vec![
        ("encrypt", reason(crypto.encrypt(encrypt).await)),
        ("data key", reason(crypto.generate_data_key(data_key).await)),
        ("mac", reason(crypto.generate_mac(mac).await)),
        ("verify mac", reason(crypto.verify_mac(verify_mac).await)),
        ("sign", reason(crypto.sign(sign(name, b"x")).await)),
        ("verify", reason(crypto.verify(verify(name, 1, b"x", b"no signature")).await)),
        ("asymmetric decrypt", reason(crypto.asymmetric_decrypt(decrypt).await)),
        ("public key", reason(client.keys().public_key(public).await)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_does_what_its_algorithm_is_for_and_nothing_else() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    for (algorithm, purpose) in [
        (Algorithm::Aes256Gcm, Purpose::EncryptDecrypt),
        (Algorithm::Chacha20Poly1305, Purpose::EncryptDecrypt),
        (Algorithm::HmacSha256, Purpose::Mac),
        (Algorithm::Ed25519, Purpose::SignVerify),
        (Algorithm::EcdsaP256Sha256, Purpose::SignVerify),
        (Algorithm::RsaPss2048Sha256, Purpose::SignVerify),
        (Algorithm::RsaOaep2048Sha256, Purpose::AsymmetricDecrypt),
    ] {
        let id = algorithm.as_str_name().trim_start_matches("ALGORITHM_").to_lowercase().replace('_', "-");
        let key = create(&client, &id, algorithm).await;
        assert_eq!((key.algorithm(), key.purpose()), (algorithm, purpose));
        let wrong = Err(Some(Reason::WrongPurpose));
        for (verb, answer) in every_verb(&client, &key.name).await {
            let expected = match (purpose, verb) {
                (Purpose::EncryptDecrypt, "encrypt" | "data key") | (Purpose::Mac, "mac") => Ok(()),
                (Purpose::Mac, "verify mac") | (Purpose::SignVerify, "verify") => Err(Some(Reason::InvalidSignature)),
                (Purpose::SignVerify, "sign") => Ok(()),
                (Purpose::AsymmetricDecrypt, "asymmetric decrypt") => Err(Some(Reason::InvalidCiphertext)),
                (Purpose::SignVerify | Purpose::AsymmetricDecrypt, "public key") => Ok(()),
                _ => wrong,
            };
            assert_eq!(answer, expected, "{verb} with {id}");
        }
    }
    // What one key made is nothing to another, although both are there.
    let name = |id: &str| format!("{PARENT}/keys/{id}");
    let plaintext = b"x".to_vec();
    let encrypt = kms::EncryptRequest { name: name("chacha20-poly1305"), plaintext, ..Default::default() };
    let ciphertext = client.crypto().encrypt(encrypt).await.expect("encrypts").ciphertext;
    let decrypt = |ciphertext: Vec<u8>| kms::DecryptRequest { parent: PARENT.into(), ciphertext, ..Default::default() };
    assert_eq!(client.crypto().decrypt(decrypt(ciphertext.clone())).await.expect("decrypts").plaintext, b"x");
    assert_eq!(ciphertext[4], 2, "suite 2");
    let mut swapped = ciphertext;
    swapped[4] = 1;
    let refused = client.crypto().decrypt(decrypt(swapped)).await;
    assert_eq!(reason(refused), Err(Some(Reason::InvalidCiphertext)), "the suite is bound");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_has_the_public_half_verifies_and_encrypts_without_us() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let mut digest = MessageHasher::new(HashFunction::Sha256);
    digest.update(b"a release");
    let digest = digest.finish();
    for algorithm in [
        Algorithm::Ed25519,
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::RsaPss2048Sha256,
        Algorithm::RsaPkcs12048Sha256,
    ] {
        let id = algorithm.as_str_name().to_lowercase().replace('_', "-");
        let name = create(&client, &id, algorithm).await.name;
        let signed = client.crypto().sign(sign(&name, b"a release")).await.expect("signs");
        assert_eq!((signed.version, signed.algorithm()), (1, algorithm));
        let public = public_key(&client, &name, 0).await;
        assert_eq!(
            (public.version, public.algorithm(), public.name.as_str()),
            (1, algorithm, &*format!("{name}/versions/1"))
        );
        assert!(public.jwk.contains(&format!(r#""kid":"{name}/versions/1""#)), "{}", public.jwk);
        let scheme = ::kms::Algorithm::parse(algorithm.as_str_name().trim_start_matches("ALGORITHM_"));
        let scheme = scheme.and_then(|algorithm| algorithm.signature_scheme().ok()).expect("it signs");
        assert_eq!(scheme.verify(&public.der, Signed::Message(b"a release"), &signed.signature), Ok(()), "{id}");
        let lines: Vec<_> = public.pem.lines().filter(|line| !line.starts_with("-----")).collect();
        assert_eq!(STANDARD.decode(lines.concat()).expect("base64"), public.der, "{}", public.pem);
        if scheme.hash() == Some(HashFunction::Sha256) {
            let request = kms::SignRequest { name: name.clone(), digest: Some(digest.clone()), ..Default::default() };
            let signature = client.crypto().sign(request).await.expect("signs").signature;
            client.crypto().verify(verify(&name, 1, b"a release", &signature)).await.expect("is of the message");
            let both = kms::SignRequest { digest: Some(digest.clone()), ..sign(&name, b"a release") };
            assert_eq!(reason(client.crypto().sign(both).await), Err(Some(Reason::InvalidArgument)));
            for digest in [&digest[1..], &[]] {
                let digest = Some(digest.to_vec());
                let short = kms::SignRequest { name: name.clone(), digest, ..Default::default() };
                assert_eq!(reason(client.crypto().sign(short).await), Err(Some(Reason::InvalidArgument)));
            }
        }
    }
    let name = create(&client, "letters", Algorithm::RsaOaep2048Sha256).await.name;
    let public = public_key(&client, &name, 0).await;
    let ciphertext = oaep_encrypt(&public.der, &[], b"a letter").expect("encrypts");
    let request = kms::AsymmetricDecryptRequest { name, version: 1, ciphertext };
    assert_eq!(client.crypto().asymmetric_decrypt(request).await.expect("decrypts").plaintext, b"a letter");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_node_verifies_at_once_what_another_signed_and_each_use_is_recorded() {
    let cluster = Cluster::form(3).await;
    let nodes = [cluster.client_of_node(0).await, cluster.client_of_node(1).await, cluster.client_of_node(2).await];
    let leader = cluster.client().await;
    let (signer, macs) = (
        create(&leader, "releases", Algorithm::EcdsaP256Sha256).await.name,
        create(&leader, "cookies", Algorithm::HmacSha512).await.name,
    );
    for round in 1..=3_u32 {
        for (at, node) in nodes.iter().enumerate() {
            let signed = node.crypto().sign(sign(&signer, b"a release")).await.expect("signs");
            let mac =
                kms::GenerateMacRequest { name: macs.clone(), message: b"a cookie".to_vec(), ..Default::default() };
            let made = node.crypto().generate_mac(mac).await.expect("makes");
            assert_eq!((signed.version, made.version, made.mac.len()), (round, round, 64));
            let other = &nodes[(at + 1) % 3];
            let request = verify(&signer, signed.version, b"a release", &signed.signature);
            other.crypto().verify(request).await.expect("a good signature");
            let (name, version, message) = (macs.clone(), made.version, b"a cookie".to_vec());
            let request = kms::VerifyMacRequest { name, version, message, mac: made.mac };
            other.crypto().verify_mac(request.clone()).await.expect("a good MAC");
            let truncated = kms::VerifyMacRequest { mac: request.mac[..32].to_vec(), ..request };
            assert_eq!(reason(other.crypto().verify_mac(truncated).await), Err(Some(Reason::InvalidSignature)));
        }
        for name in [&signer, &macs] {
            let rotate = kms::RotateKeyRequest { name: name.clone(), ..Default::default() };
            leader.keys().rotate(rotate).await.expect("rotates");
        }
    }
    // The version is part of knowing a signature.
    let nameless = verify(&signer, 0, b"a release", b"whatever");
    assert_eq!(reason(leader.crypto().verify(nameless).await), Err(Some(Reason::InvalidArgument)));
    let unknown = verify(&signer, 99, b"a release", b"whatever");
    assert_eq!(reason(leader.crypto().verify(unknown).await), Err(Some(Reason::NotFound)));

    let search = audit::SearchRequest { resource: signer.clone(), page_size: 100, ..Default::default() };
    let signatures = || async {
        let mut found = 0;
        for node in &nodes {
            let records = node.audit().search(search.clone()).await.map(|found| found.records).unwrap_or_default();
            found += records.iter().filter(|record| record.action == "CryptoService.Sign").count();
            assert!(
                !records.iter().any(|record| format!("{record:?}").contains("a release")),
                "what was signed is not told"
            );
        }
        found
    };
    until("a record of every signature", SOON, || async { signatures().await == 9 }).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_destroyed_version_signs_no_more_and_keeps_its_public_half() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let name = create(&client, "releases", Algorithm::Ed25519).await.name;
    let signature = client.crypto().sign(sign(&name, b"m")).await.expect("signs").signature;
    let before = public_key(&client, &name, 1).await;
    client.keys().rotate(kms::RotateKeyRequest { name: name.clone(), ..Default::default() }).await.expect("rotates");
    client.crypto().verify(verify(&name, 1, b"m", &signature)).await.expect("older versions verify");
    let by_older = kms::SignRequest { version: 1, ..sign(&name, b"m") };
    assert_eq!(client.crypto().sign(by_older.clone()).await.expect("signs").version, 1);

    let disable = kms::DisableKeyRequest { name: name.clone(), version: 1, ..Default::default() };
    client.keys().disable(disable).await.expect("disables");
    let disabled = Err(Some(Reason::KeyDisabled));
    assert_eq!(reason(client.crypto().sign(by_older.clone()).await), disabled);
    assert_eq!(reason(client.crypto().verify(verify(&name, 1, b"m", &signature)).await), disabled);
    let destroy = kms::DestroyKeyRequest { name: name.clone(), version: 1, erase_now: true, ..Default::default() };
    without_waiting(&client, &name).await;
    client.keys().destroy(destroy).await.expect("destroys");
    assert_eq!(reason(client.crypto().sign(by_older).await), Err(Some(Reason::KeyDestroyed)));

    let after = public_key(&client, &name, 1).await;
    assert_eq!((after.state(), &after.der), (kms::VersionState::Destroyed, &before.der));
    let scheme = crypto::asymmetric::SignatureScheme::Ed25519;
    assert_eq!(scheme.verify(&after.der, Signed::Message(b"m"), &signature), Ok(()));
    assert_ne!(public_key(&client, &name, 2).await.der, after.der);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_of_any_length_is_signed_by_its_digest() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let (p384, ed25519) = (
        create(&client, "p384", Algorithm::EcdsaP384Sha384).await.name,
        create(&client, "ed25519", Algorithm::Ed25519).await.name,
    );
    let long: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    for length in [0, 1, 65_536, 65_537, 300_000] {
        let message = &long[..length];
        let signed = signing::sign(&client, &p384, 0, message).await.expect("signs");
        let (version, signature) = (signed.version, signed.signature);
        signing::verify(&client, &p384, version, message, signature.clone()).await.expect("verifies");
        let other = [message, b"x"].concat();
        let refused = signing::verify(&client, &p384, version, other.as_slice(), signature).await.expect_err("another");
        assert!(refused.to_string().contains("INVALID_SIGNATURE"), "{refused}");
    }
    signing::sign(&client, &ed25519, 0, &long[..65_536]).await.expect("signs");
    let refused = signing::sign(&client, &ed25519, 0, long.as_slice()).await.expect_err("too long");
    assert!(refused.to_string().contains("signs no digest"), "{refused}");
    let whole = kms::SignRequest { name: p384, message: long, ..Default::default() };
    assert_eq!(reason(client.crypto().sign(whole).await), Err(Some(Reason::LimitExceeded)));
    cluster.stop_all().await;
}

/// What is refused or only tried makes no key pair first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_key_is_tried_without_being_made() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let request = kms::CreateKeyRequest {
        parent: PARENT.into(),
        key_id: "releases".into(),
        algorithm: Algorithm::RsaPss2048Sha256.into(),
        ..Default::default()
    };
    let tried = kms::CreateKeyRequest { validate_only: true, ..request.clone() };
    assert_eq!(client.keys().create(tried.clone()).await.expect("would do").primary_version, 1);
    let name = client.keys().create(request.clone()).await.expect("creates").name;
    for taken in [tried, request.clone()] {
        assert_eq!(reason(client.keys().create(taken).await), Err(Some(Reason::AlreadyExists)));
    }
    let short = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let short = kms::CreateKeyRequest { key_id: "other".into(), rotation_period: short, ..request };
    assert_eq!(reason(client.keys().create(short).await), Err(Some(Reason::InvalidArgument)));

    let rotate = kms::RotateKeyRequest { name: name.clone(), ..Default::default() };
    let tried = kms::RotateKeyRequest { validate_only: true, ..rotate.clone() };
    assert_eq!(client.keys().rotate(tried).await.expect("would do").primary_version, 2);
    let other = kms::RotateKeyRequest { etag: "r1".into(), ..rotate.clone() };
    assert_eq!(reason(client.keys().rotate(other).await), Err(Some(Reason::PreconditionFailed)));
    assert_eq!(client.keys().rotate(rotate.clone()).await.expect("rotates").primary_version, 2);
    client.keys().disable(kms::DisableKeyRequest { name, ..Default::default() }).await.expect("disables");
    assert_eq!(reason(client.keys().rotate(rotate).await), Err(Some(Reason::KeyDisabled)));
    cluster.stop_all().await;
}

/// A key that takes long to make holds up neither its leader nor the keys that do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rsa_keys_rotate_by_schedule_beside_others() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let floor = quick_namespace(&client).await;
    for (id, algorithm) in [
        ("slow-1", Algorithm::RsaPss2048Sha256),
        ("slow-2", Algorithm::RsaOaep2048Sha256),
        ("quick", Algorithm::Ed25519),
    ] {
        let request = kms::CreateKeyRequest {
            parent: floor.clone(),
            key_id: id.into(),
            algorithm: algorithm.into(),
            rotation_period: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            ..Default::default()
        };
        client.keys().create(request).await.expect("creates");
    }
    for id in ["slow-1", "slow-2", "quick"] {
        let name = format!("{floor}/keys/{id}");
        until("a rotation by schedule", SOON, || async {
            let get = kms::GetKeyRequest { name: name.clone() };
            client.keys().get(get).await.is_ok_and(|key| key.primary_version > 1)
        })
        .await;
    }
    let public = (
        public_key(&client, &format!("{floor}/keys/slow-1"), 1).await,
        public_key(&client, &format!("{floor}/keys/slow-1"), 2).await,
    );
    assert_ne!(public.0.der, public.1.der);
    cluster.stop_all().await;
}

/// A namespace whose keys may rotate every second.
async fn quick_namespace(client: &Client) -> String {
    let request = proto::cluster::v1::CreateNamespaceRequest {
        namespace_id: "quick".into(),
        namespace: Some(proto::cluster::v1::Namespace {
            rotation_floor: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..Default::default()
        }),
        ..Default::default()
    };
    client.namespaces().create(request).await.expect("creates").name
}
