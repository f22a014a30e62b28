//! Signatures over the API against the bare primitive in this process, and the primitive with its key read for each signature
//! against one whose key is ready (ADR 0009).

use std::time::{Duration, Instant};

use crypto::asymmetric::Signed;
use crypto::sign::P256Signer;
use proto::kms::v1 as wire;
use proto::kms::v1::Algorithm;
use proto::kms::v1::crypto_service_client::CryptoServiceClient;

use crate::cluster::Cluster;
use crate::load::{self, as_f64};
use crate::report::{Row, median};
use crate::{Effort, Fault};

const NAMESPACE: &str = "namespaces/default";
const MESSAGE: &[u8] = &[7; 32];
const DEPTH: usize = 16;

/// Each algorithm on one node, and P-256 without any.
pub(crate) async fn compare(cluster: &Cluster, effort: Effort) -> Result<Vec<Row>, Fault> {
    let mut rows = Vec::new();
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256Sha256, Algorithm::RsaPss2048Sha256] {
        let name = algorithm.as_str_name().trim_start_matches("ALGORITHM_");
        let key = key(cluster, algorithm).await?;
        let (kind, scheme) = primitive(name)?;
        let pair = kind.generate()?;
        let bare = || scheme.sign(pair.private.expose(), Signed::Message(MESSAGE)).map(drop);
        let request = wire::SignRequest { name: key, message: MESSAGE.to_vec(), ..Default::default() };
        let channel = cluster.channel()?;
        let call = || async {
            CryptoServiceClient::new(channel.clone()).sign(request.clone()).await?;
            Ok(())
        };
        load::closed(DEPTH, effort.window, &call).await?;
        let mut runs = Vec::new();
        for _ in 0..effort.runs {
            let before = cluster.usage().await?;
            let load = load::closed(DEPTH, effort.window, &call).await?;
            let cpu = cluster.usage().await?.cpu_since(&before);
            runs.push((cpu.as_secs_f64() * 1e6 / as_f64(load.calls.max(1)), micros_each(effort.window, bare)?));
        }
        rows.push(Row {
            name: format!("Sign {name} 32 B, {DEPTH} in flight, 1 node"),
            value: median(runs.iter().map(|run| run.0)),
            unit: "µs CPU/call",
            against: "the primitive, key read each time".to_owned(),
            against_value: median(runs.iter().map(|run| run.1)),
            ratio: median(runs.iter().map(|run| run.1 / run.0)),
        });
    }
    rows.push(read_each_time(effort)?);
    Ok(rows)
}

/// What it costs not to keep a key ready.
fn read_each_time(effort: Effort) -> Result<Row, Fault> {
    let (kind, scheme) = primitive("ECDSA_P256_SHA_256")?;
    let (pair, ready) = (kind.generate()?, P256Signer::generate());
    let mut runs = Vec::new();
    for _ in 0..effort.runs {
        let ours =
            micros_each(effort.window, || scheme.sign(pair.private.expose(), Signed::Message(MESSAGE)).map(drop))?;
        let theirs = micros_each(effort.window, || {
            std::hint::black_box(ready.sign(MESSAGE));
            Ok::<_, crypto::Unverified>(())
        })?;
        runs.push((ours, theirs));
    }
    Ok(Row {
        name: "ECDSA_P256_SHA_256 in this process, key read each time".to_owned(),
        value: median(runs.iter().map(|run| run.0)),
        unit: "µs/signature",
        against: "ring, key ready".to_owned(),
        against_value: median(runs.iter().map(|run| run.1)),
        ratio: median(runs.iter().map(|run| run.1 / run.0)),
    })
}

async fn key(cluster: &Cluster, algorithm: Algorithm) -> Result<String, Fault> {
    let key_id = algorithm.as_str_name().trim_start_matches("ALGORITHM_").to_lowercase().replace('_', "-");
    let request =
        wire::CreateKeyRequest { parent: NAMESPACE.into(), key_id, algorithm: algorithm.into(), ..Default::default() };
    Ok(cluster.client.keys().create(request).await?.name)
}

fn primitive(name: &str) -> Result<(crypto::asymmetric::KeyType, crypto::asymmetric::SignatureScheme), Fault> {
    match kms::Algorithm::parse(name).map(kms::Algorithm::primitive) {
        Some(kms::Primitive::Sign(kind, scheme)) => Ok((kind, scheme)),
        _ => Err(format!("{name} does not sign").into()),
    }
}

/// One thread, one after the other: its wall time is the cost.
fn micros_each(window: Duration, work: impl Fn() -> Result<(), crypto::Unverified>) -> Result<f64, Fault> {
    let (started, mut done) = (Instant::now(), 0_u64);
    while started.elapsed() < window / 2 {
        work()?;
        done += 1;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / as_f64(done.max(1)))
}
