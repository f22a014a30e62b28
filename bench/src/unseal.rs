//! How long a sealed node takes until it serves, with many keys: from the call that opens it to the first ciphertext
//! decrypted and the first key created, each beside the limit that is promised.
//!
//! One real node, so that an election is in it. Its seal is a file: a passphrase would add the second that argon2id is
//! meant to take.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chancery_client::tls::unix_channel;
use proto::cluster::v1 as cluster;
use proto::cluster::v1::seal_service_client::SealServiceClient;
use proto::kms::v1 as wire;
use proto::kms::v1::crypto_service_client::CryptoServiceClient;
use proto::kms::v1::key_service_client::KeyServiceClient;
use tonic::transport::Channel;

use crate::cluster::Cluster;
use crate::load::Turns;
use crate::report::{Row, median};
use crate::{Effort, Fault};

/// What is promised with a hundred thousand keys.
const SERVING_S_MAX: f64 = 2.0;
const NAMESPACE: &str = "namespaces/default";
/// Keys created at once, over so many connections.
const IN_FLIGHT: usize = 256;
const CONNECTIONS: usize = 8;
/// Between two attempts on a node that does not serve yet.
const PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures with so many keys under `folder`.
pub(crate) async fn compare(folder: &Path, keys: usize, effort: Effort) -> Result<Vec<Row>, Fault> {
    let folder = folder.join("unseal");
    let node = Cluster::form(&folder, 1).await?;
    let ciphertext = fill(&node, keys).await?;
    let mut seal = SealServiceClient::new(unix_channel(&folder.join("node-1/admin.sock")).await?);
    let (mut decrypts, mut creates) = (Vec::new(), Vec::new());
    for round in 0..effort.runs {
        node.client.seal().seal(cluster::SealRequest {}).await?;
        until_sealed(&mut seal).await?;
        let (channel, request_id) = (node.channel()?, chancery_client::api::request_id());
        let opened = Instant::now();
        let (open, decrypt, create) = tokio::join!(
            seal.unseal(cluster::UnsealRequest::default()),
            first(opened, || decrypt(channel.clone(), &ciphertext)),
            first(opened, || create(channel.clone(), format!("after-{round}"), &request_id)),
        );
        open?;
        decrypts.push(decrypt?);
        creates.push(create?);
    }
    node.stop().await?;
    let row = |what: &str, seconds: Vec<f64>| {
        let value = median(seconds.into_iter());
        Row {
            name: format!("sealed to the first {what}, {keys} keys"),
            value,
            unit: "s",
            against: "limit".to_owned(),
            against_value: SERVING_S_MAX,
            ratio: SERVING_S_MAX / value,
        }
    };
    Ok(vec![row("Decrypt", decrypts), row("CreateKey", creates)])
}

/// Creates the keys; what the first of them encrypted is returned.
async fn fill(node: &Cluster, keys: usize) -> Result<Vec<u8>, Fault> {
    let channels = Turns::new(CONNECTIONS, || node.channel())?;
    let next = AtomicUsize::new(0);
    let caller = || async {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= keys {
                return Ok::<(), Fault>(());
            }
            create(channels.next()?.clone(), format!("key-{n}"), &chancery_client::api::request_id()).await?;
        }
    };
    futures::future::try_join_all((0..IN_FLIGHT).map(|_| caller())).await?;
    let name = format!("{NAMESPACE}/keys/key-0");
    let request = wire::EncryptRequest { name, plaintext: vec![7; 32], ..Default::default() };
    Ok(CryptoServiceClient::new(node.channel()?).encrypt(request).await?.into_inner().ciphertext)
}

async fn create(channel: Channel, key_id: String, request_id: &str) -> Result<(), Fault> {
    let request_id = request_id.to_owned();
    let request = wire::CreateKeyRequest { parent: NAMESPACE.into(), key_id, request_id, ..Default::default() };
    KeyServiceClient::new(channel).create_key(request).await?;
    Ok(())
}

async fn decrypt(channel: Channel, ciphertext: &[u8]) -> Result<(), Fault> {
    let ciphertext = ciphertext.to_vec();
    let request = wire::DecryptRequest { parent: NAMESPACE.into(), ciphertext, ..Default::default() };
    CryptoServiceClient::new(channel).decrypt(request).await?;
    Ok(())
}

/// Seconds until a call is answered, asked again and again; the last refusal is the reason when none ever is.
async fn first<U>(since: Instant, call: impl Fn() -> U) -> Result<f64, Fault>
where
    U: Future<Output = Result<(), Fault>>,
{
    loop {
        match call().await {
            Ok(()) => return Ok(since.elapsed().as_secs_f64()),
            Err(refused) if since.elapsed() > PATIENCE => return Err(refused),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn until_sealed(seal: &mut SealServiceClient<Channel>) -> Result<(), Fault> {
    let asked = Instant::now();
    while !seal.get_status(cluster::GetSealStatusRequest {}).await?.into_inner().sealed {
        if asked.elapsed() > PATIENCE {
            return Err("the node was not sealed in time".into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
