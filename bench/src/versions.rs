//! A key with very many versions beside one that has a single one: what is done to the former must not cost more.

use proto::kms::v1 as wire;

use crate::cluster::Cluster;
use crate::load;
use crate::report::{Row, median};
use crate::unary::{Call, micros_per_call};
use crate::{Effort, Fault};

const NAMESPACE: &str = "namespaces/default";
const DEPTH: usize = 16;

/// Each call, on one node.
pub(crate) async fn compare(cluster: &Cluster, effort: Effort) -> Result<Vec<Row>, Fault> {
    let channel = cluster.channel()?;
    let (many, one) = (calls(cluster, "many-versions").await?, calls(cluster, "one-version").await?);
    let rotate = wire::RotateKeyRequest { name: format!("{NAMESPACE}/keys/many-versions"), ..Default::default() };
    for _ in 1..effort.versions {
        cluster.client.keys().rotate(rotate.clone()).await?;
    }
    let mut rows = Vec::new();
    for ((name, many), (_, one)) in many.into_iter().zip(one) {
        let mut runs = Vec::new();
        for n in 0..effort.runs {
            let [mut of_many, mut of_one] = [0.0; 2];
            // Who begins alternates, so that a drift of the machine meets both alike.
            for turn in [n, n + 1] {
                let (call, cost) = if turn % 2 == 0 { (&many, &mut of_many) } else { (&one, &mut of_one) };
                let before = cluster.usage().await?;
                let load = load::closed(DEPTH, effort.window, || call.send(&channel)).await?;
                *cost = micros_per_call(cluster.usage().await?.cpu_since(&before), load.calls);
            }
            runs.push([of_many, of_one]);
        }
        let of = |figure: &dyn Fn(&[f64; 2]) -> f64| median(runs.iter().map(figure));
        rows.push(Row {
            name: format!("{name}, a key with {} versions", effort.versions),
            value: of(&|[many, _]| *many),
            unit: "µs CPU/call",
            against: "the same with a key of one".to_owned(),
            against_value: of(&|[_, one]| *one),
            ratio: of(&|[many, one]| one / many),
        });
    }
    Ok(rows)
}

/// Makes a key and what is done to it.
async fn calls(cluster: &Cluster, id: &str) -> Result<[(&'static str, Call); 3], Fault> {
    let create = wire::CreateKeyRequest { parent: NAMESPACE.into(), key_id: id.into(), ..Default::default() };
    let name = cluster.client.keys().create(create).await?.name;
    let encrypt = wire::EncryptRequest { name: name.clone(), plaintext: vec![7; 32], ..Default::default() };
    let ciphertext = cluster.client.crypto().encrypt(encrypt.clone()).await?.ciphertext;
    let decrypt = wire::DecryptRequest { parent: NAMESPACE.into(), ciphertext, ..Default::default() };
    Ok([
        ("Encrypt 32 B", Call::Encrypt(encrypt)),
        ("Decrypt 32 B of the first version", Call::Decrypt(decrypt)),
        ("GetKey", Call::Describe(wire::GetKeyRequest { name })),
    ])
}
