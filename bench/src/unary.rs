//! Encrypt and Decrypt of 32 bytes against the bare peer: CPU of the serving process per call, and wall rates.

use proto::kms::v1 as wire;
use proto::kms::v1::crypto_service_client::CryptoServiceClient;
use proto::kms::v1::key_service_client::KeyServiceClient;
use tonic::transport::Channel;

use crate::child::Child;
use crate::cluster::{Cluster, pinned_channel};
use crate::load::{self, as_f64};
use crate::report::{Row, median};
use crate::{Effort, Fault, echo};

/// The key that is used.
pub(crate) const KEY: &str = "namespaces/default/keys/bench";
const NAMESPACE: &str = "namespaces/default";
const PLAINTEXT_BYTES: usize = 32;

/// A call, ready to be sent again and again.
#[derive(Clone)]
pub(crate) enum Call {
    Encrypt(wire::EncryptRequest),
    Decrypt(wire::DecryptRequest),
    Describe(wire::GetKeyRequest),
}

/// Two measurements of one run, ours and the peer's.
struct Run {
    cpu_us: [f64; 2],
    rate: [f64; 2],
}

/// Both calls at each depth on one node, all depths; on a cluster of several, only the middle one.
pub(crate) async fn compare(cluster: &Cluster, nodes: usize, effort: Effort) -> Result<Vec<Row>, Fault> {
    let create = wire::CreateKeyRequest { parent: NAMESPACE.into(), key_id: "bench".into(), ..Default::default() };
    cluster.client.keys().create(create).await?;
    let mut peer = Child::start(["echo", &cluster.operator.spki().to_string()])?;
    let at: echo::Address = peer.answer().await?;
    let pin = types::SpkiHash::from_hex(&at.spki).ok_or("not the hash of a key")?;
    let address = chancery_client::Address::parse(&at.address)?;
    let channels = [cluster.channel()?, pinned_channel(&cluster.operator, address, [pin].into_iter())?];

    let encrypt = wire::EncryptRequest { name: KEY.into(), plaintext: vec![7; PLAINTEXT_BYTES], ..Default::default() };
    let sealed = CryptoServiceClient::new(cluster.channel()?).encrypt(encrypt.clone()).await?.into_inner();
    let decrypt =
        wire::DecryptRequest { parent: NAMESPACE.into(), ciphertext: sealed.ciphertext, ..Default::default() };
    let calls = [("Encrypt", Call::Encrypt(encrypt)), ("Decrypt", Call::Decrypt(decrypt))];
    let depths: &[usize] = if nodes == 1 { &[1, 16, 64] } else { &[16] };
    let mut rows = Vec::new();
    for (name, call) in calls {
        for channel in &channels {
            for _ in 0..effort.warm_up {
                call.send(channel).await?;
            }
        }
        for &depth in depths {
            let mut runs = Vec::new();
            for n in 0..effort.runs {
                runs.push(run(cluster, &mut peer, &channels, &call, depth, n, effort).await?);
            }
            let what = format!("{name} {PLAINTEXT_BYTES} B, {depth} in flight, {}", report_nodes(nodes));
            rows.extend(summary(&what, &runs));
        }
    }
    peer.stop().await?;
    Ok(rows)
}

/// "1 node", "3 nodes".
pub(crate) fn report_nodes(nodes: usize) -> String {
    format!("{nodes} {}", if nodes == 1 { "node" } else { "nodes" })
}

/// One window of each; who begins alternates, so that a drift of the machine meets both alike.
async fn run(
    cluster: &Cluster,
    peer: &mut Child,
    channels: &[Channel; 2],
    call: &Call,
    depth: usize,
    n: usize,
    effort: Effort,
) -> Result<Run, Fault> {
    let [ours, theirs] = channels;
    let mut run = Run { cpu_us: [0.0; 2], rate: [0.0; 2] };
    let ([our_cpu, peer_cpu], [our_rate, peer_rate]) = (&mut run.cpu_us, &mut run.rate);
    for turn in [n, n + 1] {
        if turn % 2 == 0 {
            let before = cluster.usage().await?;
            let load = load::closed(depth, effort.window, || call.send(ours)).await?;
            *our_cpu = micros_per_call(cluster.usage().await?.cpu_since(&before), load.calls);
            *our_rate = load.rate();
        } else {
            let before = peer.usage().await?;
            let load = load::closed(depth, effort.window, || call.send(theirs)).await?;
            *peer_cpu = micros_per_call(peer.usage().await?.cpu_since(&before), load.calls);
            *peer_rate = load.rate();
        }
    }
    Ok(run)
}

impl Call {
    pub(crate) async fn send(&self, channel: &Channel) -> Result<(), Fault> {
        let mut client = CryptoServiceClient::new(channel.clone());
        match self {
            Self::Encrypt(request) => drop(client.encrypt(request.clone()).await?),
            Self::Decrypt(request) => drop(client.decrypt(request.clone()).await?),
            Self::Describe(request) => drop(KeyServiceClient::new(channel.clone()).get_key(request.clone()).await?),
        }
        Ok(())
    }
}

pub(crate) fn micros_per_call(cpu: std::time::Duration, calls: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / as_f64(calls.max(1))
}

fn summary(what: &str, runs: &[Run]) -> [Row; 2] {
    let of = |figure: &dyn Fn(&Run) -> f64| median(runs.iter().map(figure));
    let echo = "bare tonic mTLS echo";
    [
        Row {
            name: what.to_owned(),
            value: of(&|run| run.cpu_us[0]),
            unit: "µs CPU/call",
            against: echo.to_owned(),
            against_value: of(&|run| run.cpu_us[1]),
            ratio: of(&|run| run.cpu_us[1] / run.cpu_us[0]),
        },
        Row {
            name: format!("{what}, wall"),
            value: of(&|run| run.rate[0]),
            unit: "calls/s",
            against: echo.to_owned(),
            against_value: of(&|run| run.rate[1]),
            ratio: of(&|run| run.rate[0] / run.rate[1]),
        },
    ]
}
