//! A peer for durable writes: as many members of etcd as we have nodes, each with its own folder on the same disk, TLS on every connection,
//! asked for a `put` through the same generator. Nothing of etcd is built or changed: `--etcd` names its binary.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chancery_client::Address;
use chancery_client::tls::Identity;
use crypto::sign::P256Signer;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyIdMethod, SanType, SerialNumber};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::Fault;
use crate::cluster::pinned_channel;
use crate::load::Turns;

/// Key and value of one `put`, together.
const PAYLOAD_BYTES: usize = 256;
const PUT: &str = "/etcdserverpb.KV/Put";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";
const FORMING: Duration = Duration::from_secs(30);

/// Members that run until they are stopped, or this is dropped.
pub(crate) struct Etcd {
    /// What the binary calls itself.
    version: String,
    channels: Turns<Channel>,
    written: AtomicU64,
    members: Vec<tokio::process::Child>,
}

impl std::fmt::Display for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "etcd {}, put of {PAYLOAD_BYTES} B", self.version)
    }
}

/// Where one member listens and keeps its files.
struct Seat {
    name: String,
    folder: PathBuf,
    client: u16,
    peer: u16,
}

/// The files by which members know each other and the caller.
struct Credentials {
    certificate: PathBuf,
    key: PathBuf,
    trusted: PathBuf,
}

/// `etcdserverpb.PutRequest`, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`: that it came is enough.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// `etcdserverpb.StatusRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

/// `etcdserverpb.StatusResponse`, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// `etcdserverpb.ResponseHeader`, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

impl Etcd {
    /// Starts members of `binary` under `folder`; the caller is `operator`, over so many connections to the leader.
    pub(crate) async fn form(
        binary: &Path,
        folder: &Path,
        members: usize,
        operator: &Identity,
        connections: usize,
    ) -> Result<Self, Fault> {
        std::fs::create_dir_all(folder)?;
        let signer = P256Signer::generate();
        let credentials = Credentials::write(folder, &signer, operator)?;
        let seats = (1..=members).map(|n| Seat::new(folder, n)).collect::<Result<Vec<_>, _>>()?;
        let cluster = seats.iter().map(Seat::advertised).collect::<Vec<_>>().join(",");
        let members = seats.iter().map(|seat| seat.start(binary, &cluster, &credentials)).collect::<Result<_, _>>()?;
        let pin = ca::spki_hash(&signer.spki_der());
        let leader = leader(&seats, pin, operator).await?;
        let channels = Turns::new(connections, || pinned_channel(operator, leader.clone(), [pin].into_iter()))?;
        let version = version(binary).await?;
        Ok(Self { version, channels, written: AtomicU64::new(0), members })
    }

    /// One durable write.
    pub(crate) async fn put(&self) -> Result<(), Fault> {
        put(self.channels.next()?, self.written.fetch_add(1, Ordering::Relaxed)).await
    }

    /// Ends its members.
    pub(crate) async fn stop(mut self) -> Result<(), Fault> {
        for member in &mut self.members {
            member.kill().await?;
        }
        Ok(())
    }
}

/// The member that leads, once each of them takes a write.
async fn leader(seats: &[Seat], pin: types::SpkiHash, operator: &Identity) -> Result<Address, Fault> {
    let mut leader = None;
    for seat in seats {
        let address = Address::parse(&format!("127.0.0.1:{}", seat.client))?;
        let channel = pinned_channel(operator, address.clone(), [pin].into_iter())?;
        let begun = Instant::now();
        while let Err(error) = put(&channel, 0).await {
            if begun.elapsed() > FORMING {
                return Err(format!("etcd member `{}` takes no write: {error}", seat.name).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let status: StatusResponse = call(&channel, STATUS, StatusRequest {}).await?;
        if status.header.is_some_and(|header| header.member_id == status.leader) {
            leader = Some(address);
        }
    }
    leader.ok_or_else(|| "no member of etcd says that it leads".into())
}

async fn put(channel: &Channel, number: u64) -> Result<(), Fault> {
    let key = format!("durable-{number:012}").into_bytes();
    let value = vec![7; PAYLOAD_BYTES - key.len()];
    let PutResponse {} = call(channel, PUT, PutRequest { key, value }).await?;
    Ok(())
}

async fn call<Q, A>(channel: &Channel, path: &'static str, request: Q) -> Result<A, Fault>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await?;
    let codec = ProstCodec::<Q, A>::default();
    Ok(grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await?.into_inner())
}

async fn version(binary: &Path) -> Result<String, Fault> {
    let output = tokio::process::Command::new(binary).arg("--version").output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    Ok(version.ok_or("`--version` names no version of etcd")?.to_owned())
}

impl Seat {
    fn new(folder: &Path, n: usize) -> Result<Self, Fault> {
        Ok(Self { name: format!("m{n}"), folder: folder.join(format!("m{n}")), client: port()?, peer: port()? })
    }

    fn advertised(&self) -> String {
        format!("{}=https://127.0.0.1:{}", self.name, self.peer)
    }

    fn start(&self, binary: &Path, cluster: &str, files: &Credentials) -> Result<tokio::process::Child, Fault> {
        let url = |port: u16| format!("https://127.0.0.1:{port}");
        let option = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
            let mut option = OsString::from(format!("--{name}="));
            option.push(value);
            option
        };
        let mut command = tokio::process::Command::new(binary);
        command.args([
            option("name", &self.name),
            option("data-dir", &self.folder),
            option("listen-client-urls", &url(self.client)),
            option("advertise-client-urls", &url(self.client)),
            option("listen-peer-urls", &url(self.peer)),
            option("initial-advertise-peer-urls", &url(self.peer)),
            option("initial-cluster", &cluster),
            option("cert-file", &files.certificate),
            option("key-file", &files.key),
            option("trusted-ca-file", &files.trusted),
            option("peer-cert-file", &files.certificate),
            option("peer-key-file", &files.key),
            option("peer-trusted-ca-file", &files.trusted),
            OsString::from("--client-cert-auth"),
            OsString::from("--peer-client-cert-auth"),
            OsString::from("--log-level=error"),
        ]);
        // Its complaints while members find each other are nobody's concern; a member that never forms is reported.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().map_err(|error| format!("cannot start `{}`: {error}", binary.display()).into())
    }
}

impl Credentials {
    fn write(folder: &Path, signer: &P256Signer, operator: &Identity) -> Result<Self, Fault> {
        let key = ca::Signing::new(signer);
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(1_u64));
        params.key_identifier_method = KeyIdMethod::PreSpecified(key.key_identifier());
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let members = ca::certificate_pem(params.self_signed(&key)?.der());
        let certified = operator.certified();
        let caller = ca::certificate_pem(certified.cert.first().ok_or("the operator has no certificate")?);
        let private = pem::encode(&pem::Pem::new("PRIVATE KEY", signer.to_pkcs8().expose()));
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).map(|()| path)
        };
        Ok(Self {
            trusted: write("trusted.pem", format!("{members}{caller}"))?,
            certificate: write("member.pem", members)?,
            key: write("member.key", private)?,
        })
    }
}

/// A port that was free a moment ago: etcd wants to know its peers' before any of them listens.
fn port() -> Result<u16, Fault> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
