//! `chancery init`: forms a cluster on its first node, over the admin socket in its data folder.

use std::path::{Path, PathBuf};

use chancery_client::identity::{Folder, Profile, Protection};
use chancery_client::private_file;
use chancery_client::proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use chancery_client::proto::cluster::v1::{GetTrustDocumentRequest, InitRequest};
use chancery_client::trust::TrustDocument;
use chancery_client::{API_PORT, Address, Error, tls};
use clap::Args;
use crypto::SecretBytes;
use crypto::password::Params;
use crypto::sign::P256Signer;
use serde::Serialize;
use tonic::transport::Channel;
use types::{ClusterId, OperatorName, Reason, SpkiHash, TrustDomain};

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Show, note};
use crate::passphrase;
use crate::values::{day, from_wire_time};
use crate::views::rfc3339;

/// Arguments of `init`.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// Data folder of the first node, whose admin.sock is used
    #[arg(long, value_name = "DIR", required_unless_present = "socket")]
    dir: Option<PathBuf>,
    /// The admin socket itself
    #[arg(long, value_name = "PATH", conflicts_with = "dir")]
    socket: Option<PathBuf>,
    /// Where SPIFFE IDs are made, for example example.org; it never changes
    #[arg(long, value_name = "NAME", value_parser = TrustDomain::parse)]
    trust_domain: TrustDomain,
    /// Name of the first operator, who gets the admin role
    #[arg(long, value_name = "NAME", default_value = "root")]
    operator: OperatorName,
    /// File of mode 0600 with the passphrase of the seal, if the first node's seal is one of passphrase
    #[arg(long, value_name = "FILE")]
    seal_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    shares: ShareArgs,
    #[command(flatten)]
    key: KeyProtection,
}

/// The shares of a shamir seal.
#[derive(Args, Debug)]
pub(crate) struct ShareArgs {
    /// New folder for the shares of a shamir seal, one file each: give every file to somebody else and delete it here
    #[arg(long, value_name = "DIR")]
    pub(super) seal_shares_dir: Option<PathBuf>,
    /// Into how many shares the seal's key is split
    #[arg(long, value_name = "N", default_value_t = 5, requires = "seal_shares_dir", value_parser = clap::value_parser!(u8).range(2..=i64::from(types::limits::SEAL_SHARES_MAX)))]
    pub(super) seal_shares: u8,
    /// How many of the shares open a node
    #[arg(long, value_name = "N", default_value_t = 3, requires = "seal_shares_dir", value_parser = clap::value_parser!(u8).range(2..=i64::from(types::limits::SEAL_SHARES_MAX)))]
    pub(super) seal_threshold: u8,
}

/// How a new private key rests on disk.
#[derive(Args, Debug)]
pub(crate) struct KeyProtection {
    /// Keep the operator's key in clear, guarded by its file mode alone
    #[arg(long)]
    dangerous_unencrypted_key: bool,
}

#[derive(Serialize)]
struct Formed {
    cluster_id: String,
    cluster_key_hash: String,
    operator: String,
    operator_expire_time: Option<String>,
    identity: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    seal_shares_dir: Option<PathBuf>,
    #[serde(skip)]
    until: String,
}

impl Show for Formed {
    fn text(&self) -> String {
        let Self { cluster_id, cluster_key_hash, operator, until, .. } = self;
        let shares = self.seal_shares_dir.as_ref().map(|dir| {
            format!("\nshares of the seal → {}: hand each to somebody else, then delete the folder", dir.display())
        });
        let identity = self.identity.display();
        format!(
            "formed cluster {cluster_id}\n{operator} enrolled until {until} → {identity}\nwrite down the hash of the cluster key, a restore \
             compares it: {cluster_key_hash}{}",
            shares.unwrap_or_default()
        )
    }
}

/// Forms the cluster. The operator's key is made here and only its public half is sent.
pub(crate) async fn run(args: InitArgs, context: &Context) -> Result<(), Failure> {
    let socket = args.socket.clone().or_else(|| args.dir.as_ref().map(|dir| dir.join("admin.sock")));
    let socket = socket.unwrap_or_default();
    let channel = admin_channel(&socket).await?;
    let folder = Folder::create(context.identity_folder()?)?;
    if let Some(profile) = folder.profile()? {
        let message = format!("`{}` holds {} of another cluster already", folder.path().display(), profile.name);
        return Err(Failure::new(Exit::Conflict, message).hint("--identity with another folder"));
    }
    let signer = args.key.key_in(&folder, context)?;
    let seal_passphrase = match &args.seal_passphrase_file {
        Some(path) => passphrase::existing(Some(path), "").map_err(|why| Failure::new(Exit::Denied, why))?,
        None => SecretBytes::from_vec(Vec::new()),
    };
    let seal_passphrase = seal_passphrase.expose().to_vec();
    args.shares.make_folder()?;
    let split = args.shares.seal_shares_dir.is_some();
    let mut node = ClusterServiceClient::new(channel);
    let request = InitRequest {
        trust_domain: args.trust_domain.to_string(),
        operator_name: args.operator.to_string(),
        operator_spki: signer.spki_der(),
        seal_passphrase,
        seal_shares: if split { args.shares.seal_shares.into() } else { 0 },
        seal_threshold: if split { args.shares.seal_threshold.into() } else { 0 },
    };
    let answer = node.init(request).await.map_err(|status| refused(&status, args.seal_passphrase_file.is_some()))?;
    let mut answer = answer.into_inner();
    let shares = std::mem::take(&mut answer.seal_shares);
    let shares = shares.into_iter().map(|share| SecretBytes::from_vec(share.into_bytes()));
    keep_shares(args.shares.seal_shares_dir.as_deref(), shares);
    let formed = FormedBy {
        cluster_id: answer.cluster_id.clone(),
        cluster_key_hash: answer.cluster_key_hash.clone(),
        operator: answer.operator.clone(),
    };
    let profile = keep(&folder, &formed, context, &mut node).await?;
    context.print(&Formed {
        cluster_id: answer.cluster_id,
        cluster_key_hash: answer.cluster_key_hash,
        operator: profile.name,
        operator_expire_time: rfc3339(answer.operator_expire_time.as_ref()),
        identity: folder.path().to_owned(),
        seal_shares_dir: args.shares.seal_shares_dir,
        until: answer.operator_expire_time.as_ref().map(|time| day(from_wire_time(time))).unwrap_or_default(),
    })
}

impl ShareArgs {
    /// Made before the cluster is: the shares are handed out once.
    pub(super) fn make_folder(&self) -> Result<(), Failure> {
        let Some(dir) = &self.seal_shares_dir else { return Ok(()) };
        let refused = |error: &dyn std::fmt::Display| Failure::new(Exit::Denied, error.to_string());
        private_file::create_folder(dir).map_err(|error| refused(&error))?;
        if dir.read_dir().map_err(|error| refused(&error))?.next().is_none() {
            return Ok(());
        }
        Err(Failure::new(Exit::Conflict, format!("`{}` is not empty", dir.display()))
            .hint("--seal-shares-dir with a folder that is not there yet"))
    }
}

/// Writes each share to a file of its own. One that cannot be written is printed: it exists nowhere else.
pub(super) fn keep_shares(dir: Option<&Path>, shares: impl IntoIterator<Item = SecretBytes>) {
    for (number, share) in (1..).zip(shares) {
        let path = dir.unwrap_or_else(|| Path::new(".")).join(format!("share-{number}.txt"));
        let line = SecretBytes::from_vec([share.expose(), b"\n"].concat());
        if let Err(error) = private_file::write_new(&path, line.expose()) {
            note(&format!("{error}; share {number}, which is kept nowhere else:"));
            note(&String::from_utf8_lossy(share.expose()));
        }
    }
}

/// Why no cluster was formed; a passphrase that the node has no use for is the likeliest mistake.
fn refused(status: &tonic::Status, has_passphrase: bool) -> Failure {
    let failure = Failure::from(Error::from_status(status));
    if has_passphrase {
        failure.hint_about(Reason::InvalidArgument, "file seal", "start the server with `--seal passphrase`")
    } else {
        failure
    }
}

/// A channel to a node's admin socket, which only its owner may open.
pub(crate) async fn admin_channel(socket: &Path) -> Result<Channel, Failure> {
    tls::unix_channel(socket).await.map_err(|error| {
        Failure::new(Exit::Unavailable, format!("no node listens on `{}`: {error}", socket.display()))
            .hint("check `--dir`, that `chancery server` runs, and that you are its user")
    })
}

impl KeyProtection {
    /// The key in the folder; a new one when there is none.
    pub(crate) fn key_in(&self, folder: &Folder, context: &Context) -> Result<P256Signer, Failure> {
        if folder.has_key() {
            return Ok(folder.read_key(&|| context.identity_passphrase())?);
        }
        if self.dangerous_unencrypted_key {
            return Ok(folder.create_key(&Protection::DangerousUnencrypted)?);
        }
        let passphrase = passphrase::new(context.passphrase_file(), "new passphrase for the operator's key: ")
            .map_err(|why| Failure::new(Exit::Denied, why))?;
        Ok(folder.create_key(&Protection::Passphrase(&passphrase, Params::RECOMMENDED))?)
    }
}

/// What a node says of the cluster that it has formed or enrolled somebody in.
pub(super) struct FormedBy {
    pub(super) cluster_id: String,
    pub(super) cluster_key_hash: String,
    pub(super) operator: String,
}

/// Writes down which cluster it is, and whom it vouches for.
pub(super) async fn keep(
    folder: &Folder,
    answer: &FormedBy,
    context: &Context,
    node: &mut ClusterServiceClient<Channel>,
) -> Result<Profile, Failure> {
    let malformed = || Failure::new(Exit::Failed, "the node's answer is malformed");
    let cluster_id = ClusterId::from_hex(&answer.cluster_id).ok_or_else(malformed)?;
    let cluster_key_hash = SpkiHash::from_hex(&answer.cluster_key_hash).ok_or_else(malformed)?;
    // The trust document only saves the first call a fetch, and says where the node is reached.
    let document = match node.get_trust_document(GetTrustDocumentRequest {}).await {
        Ok(wire) => TrustDocument::verify(wire.into_inner(), cluster_key_hash).map_err(|error| error.to_string()),
        Err(status) => Err(Error::from_status(&status).to_string()),
    };
    if let Err(why) = &document {
        note(&format!("note: the node did not say where it is reached ({why}); give `--addr` if it is elsewhere"));
    }
    let mut endpoints = context.addresses().to_vec();
    if let Ok(document) = &document {
        folder.trust_cache().store(document, cluster_key_hash).map_err(Error::from)?;
        if endpoints.is_empty() {
            endpoints = document.statement().nodes.iter().map(|node| node.api_address.clone()).collect();
        }
    }
    if endpoints.is_empty() {
        endpoints.extend(Address::parse(&format!("127.0.0.1:{API_PORT}")));
    }
    let profile = Profile { name: answer.operator.clone(), cluster_id, cluster_key_hash, endpoints };
    folder.write_profile(&profile)?;
    Ok(profile)
}
