//! `chancery backup`: made by a node, checked here (docs/operate/backup.md).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ::audit::LedgerError;
use chancery_client::identity::Folder;
use chancery_client::private_file;
use chancery_client::proto::cluster::v1::{CreateBackupRequest, ListBackupsRequest};
use clap::{Args, Subcommand};
use crypto::SecretBytes;
use crypto::recipients::Identity;
use serde::Serialize;
use server::backup::{self, BackupError};
use tokio::io::AsyncReadExt as _;
use types::{SpkiHash, Time};

use super::backup_views::{BackupView, ListView, VerifiedView};
use super::restore::{self, RestoreArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Show;
use crate::progress::Progress;
use crate::values::now;

/// The verbs of `backup`.
#[derive(Subcommand, Debug)]
pub(crate) enum BackupCommand {
    /// Draw an identity that opens backups, and print the recipient to seal them to
    ///
    /// Keep the identity away from the cluster, twice: without it no backup opens. The recipient goes into the configuration of
    /// every node (`backup.recipients`).
    Keygen {
        /// Write the identity to this file of mode 0600
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Have a node make a backup, and keep it here
    ///
    /// It is sealed to the recipients in the node's configuration, and checked before it gets its name.
    Create {
        /// Where to
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// List the backups that each node has written by itself, or those of a folder here
    List {
        /// A folder on this machine; no node is asked
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Check a backup: its structure and signature; with an identity also everything that is sealed in it
    ///
    /// With an identity the state is opened in memory as a restore would, every key is unwrapped, and a probe under every
    /// namespace is decrypted. Nothing is written.
    Verify {
        /// Which
        #[arg(value_name = "FILE")]
        backup: PathBuf,
        #[command(flatten)]
        opening: Opening,
        #[command(flatten)]
        origin: Origin,
    },
    /// Make the data folder of a first node from a backup, where no cluster is left
    ///
    /// It opens a new generation of the same cluster with this node as its only member; others join it as new nodes. The folder
    /// must be absent or empty, and stays so unless everything has succeeded. What was destroyed or revoked after the backup is
    /// back with it, unless a ledger says what that was: without one that is newer than the backup, every namespace is quarantined
    /// until it is released.
    Restore(Box<RestoreArgs>),
}

/// What opens a backup.
#[derive(Args, Debug)]
pub(crate) struct Opening {
    /// File of mode 0600 with an age identity that opens it, as `backup keygen` writes it; `-` reads it from stdin
    #[arg(long, value_name = "FILE")]
    age_identity: Option<PathBuf>,
}

/// Whose backup it has to be.
#[derive(Args, Debug)]
pub(crate) struct Origin {
    /// The hash of the cluster key that must have signed it; otherwise that of the cluster of `--identity`
    #[arg(long, value_name = "SHA256", value_parser = hash)]
    cluster_key: Option<SpkiHash>,
    /// Take one of any cluster, whoever signed it
    #[arg(long, conflicts_with = "cluster_key")]
    other_cluster: bool,
}

#[derive(Serialize)]
struct Drawn {
    recipient: String,
    identity: PathBuf,
}

impl Show for Drawn {
    fn text(&self) -> String {
        format!("{}\nits identity → {} (0600): keep it away from the cluster", self.recipient, self.identity.display())
    }
}

/// Runs a verb.
pub(crate) async fn run(command: BackupCommand, context: &Context) -> Result<(), Failure> {
    match command {
        BackupCommand::Keygen { out } => keygen(&out, context),
        BackupCommand::Create { out } => create(&out, context).await,
        BackupCommand::List { dir: Some(dir) } => list_here(&dir, context),
        BackupCommand::List { dir: None } => list(context).await,
        BackupCommand::Restore(args) => restore::run(*args, context).await,
        BackupCommand::Verify { backup, opening, origin } => verify(backup, opening, origin, context).await,
    }
}

fn keygen(out: &Path, context: &Context) -> Result<(), Failure> {
    let identity = Identity::generate();
    let recipient = identity.recipient().to_string();
    let line = identity.to_line();
    let mut file = SecretBytes::with_capacity(256);
    file.extend_from_slice(format!("# opens backups of Chancery; age recipient: {recipient}\n").as_bytes());
    file.extend_from_slice(line.expose());
    file.extend_from_slice(b"\n");
    private_file::write_new(out, file.expose()).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    context.print(&Drawn { recipient, identity: out.to_owned() })
}

/// The stream goes to a temporary file beside its place; it gets its name once it has been read back.
async fn create(out: &Path, context: &Context) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("`{}`: {error}", out.display()));
    private_file::check_replaceable(out).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let client = context.client().await?;
    let pinned = Origin { cluster_key: None, other_cluster: false }.pinned(context)?;
    let mut stream = client.backups().create(CreateBackupRequest {}).await?;
    let (progress, mut bytes) = (Progress::new(None), 0_u64);
    while let Some(message) = stream.next().await? {
        file.write_all(&message.chunk).map_err(failed)?;
        bytes = bytes.saturating_add(message.chunk.len() as u64);
        progress.set(bytes);
    }
    drop(progress);
    let (file, inspected) = on_disk(move || {
        file.as_file().sync_all().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let inspected = backup::inspect(file.path(), &mut |_| {})?;
        pinned.map_or(Ok(()), |pinned| inspected.check_pinned(pinned))?;
        Ok((file, inspected))
    })
    .await?;
    file.persist(out).map_err(|error| failed(error.error))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    context.print(&BackupView::made(out, &inspected))
}

async fn list(context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    let mut view = ListView::default();
    for (address, member) in context.members(&client).await {
        match member.backups().list(ListBackupsRequest {}).await {
            Ok(answer) => view.add_node(answer),
            Err(error) => view.add_silent(&address.to_string(), crate::failure::of_one_node(&error)),
        }
    }
    context.print(&view)?;
    view.complete()
}

fn list_here(dir: &Path, context: &Context) -> Result<(), Failure> {
    let mut view = ListView::default();
    backup::list(dir)?.into_iter().for_each(|kept| view.add_file(dir, kept));
    context.print(&view)
}

async fn verify(path: PathBuf, opening: Opening, origin: Origin, context: &Context) -> Result<(), Failure> {
    crate::private_memory::keep()?;
    let pinned = origin.pinned(context)?;
    let bytes = std::fs::metadata(&path).map(|metadata| metadata.len());
    let progress = Progress::new(bytes.ok());
    let identities = opening.given().await?;
    let view = on_disk(move || {
        let mut passed = |bytes| progress.set(bytes);
        let Some(identities) = identities else {
            let inspected = backup::inspect(&path, &mut passed)?;
            pinned.map_or(Ok(()), |pinned| inspected.check_pinned(pinned))?;
            return Ok(VerifiedView::structure(&inspected, pinned.is_some()));
        };
        let verified = backup::verify(&path, &identities, pinned, &mut passed)?;
        Ok(VerifiedView::content(&verified, pinned.is_some()))
    })
    .await?;
    context.print(&view)
}

impl Opening {
    /// The identities, if a file was named.
    async fn given(&self) -> Result<Option<Vec<Identity>>, Failure> {
        match &self.age_identity {
            Some(file) => read_identities(file).await.map(Some),
            None => Ok(None),
        }
    }

    /// The identities: without any, nothing can be restored.
    pub(super) async fn required(&self) -> Result<Vec<Identity>, Failure> {
        let missing = || Failure::new(Exit::Usage, "a backup is opened with an identity: --age-identity FILE");
        self.given().await?.ok_or_else(missing)
    }
}

impl Origin {
    /// The hash of the cluster key that must have signed the backup; none if anybody may.
    pub(crate) fn pinned(&self, context: &Context) -> Result<Option<SpkiHash>, Failure> {
        if self.other_cluster || self.cluster_key.is_some() {
            return Ok(self.cluster_key);
        }
        let path = context.identity_folder()?;
        let profile = match Folder::open(&path) {
            Ok(folder) => folder.profile()?,
            Err(error) if error.is_missing() => None,
            Err(error) => return Err(error.into()),
        };
        let Some(profile) = profile else {
            let text = "it is not known which cluster's this has to be: no identity of a cluster is at hand";
            return Err(Failure::new(Exit::Usage, text)
                .hint("--cluster-key with the hash that `chancery init` printed, or --other-cluster"));
        };
        Ok(Some(profile.cluster_key_hash))
    }
}

/// The identities in a file of mode 0600, or on stdin.
pub(crate) async fn read_identities(path: &Path) -> Result<Vec<Identity>, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::new(Exit::Denied, error.to_string());
    let content = if path == Path::new("-") {
        let mut content = Vec::new();
        let read = tokio::io::stdin().take(1 << 16).read_to_end(&mut content).await;
        read.map_err(|error| refused(&error))?;
        SecretBytes::from_vec(content)
    } else {
        SecretBytes::from_vec(private_file::read(path).map_err(|error| refused(&error))?)
    };
    let text = std::str::from_utf8(content.expose()).unwrap_or_default();
    Identity::parse_all(text).map_err(|why| {
        let hint = "an identity that `age -p` has locked: `age -d FILE | chancery … --age-identity -`";
        Failure::new(Exit::Invalid, format!("`{}`: {why}", path.display())).hint(hint)
    })
}

/// Runs what reads files for long off the threads of the program.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let exit = match &error {
            _ if error.is_damage() => Exit::Unverified,
            BackupError::OtherCluster { .. } | BackupError::Ledger { source: LedgerError::Key { .. }, .. } => {
                Exit::Untrusted
            }
            BackupError::Ledger { .. } => Exit::Unverified,
            BackupError::Clock { .. } => Exit::Conflict,
            BackupError::NoIdentity { .. } => Exit::Denied,
            BackupError::NotEmpty { .. } => Exit::Conflict,
            BackupError::Settings(_) => Exit::Usage,
            _ => Exit::Failed,
        };
        let failure = Self::new(exit, error.to_string());
        match &error {
            BackupError::OtherCluster { .. } => failure.hint("`--identity` of that cluster, or --other-cluster"),
            BackupError::Ledger { .. } => failure
                .hint("the ledger of this cluster, or none: then every namespace is quarantined until it is released"),
            BackupError::Clock { .. } => failure.hint("set the clock; or --clock-is-right, if it is"),
            BackupError::Damaged(_) => failure.hint("another backup: chancery backup list"),
            BackupError::NoIdentity { .. } => failure.hint("the identity whose recipient is named above"),
            _ => failure,
        }
    }
}

fn hash(text: &str) -> Result<SpkiHash, String> {
    SpkiHash::from_hex(text).ok_or_else(|| format!("`{text}` is not a SHA-256 in hexadecimal"))
}

/// How long ago that was, for people.
pub(crate) fn age(made: Time) -> String {
    let hours = now().since(made).0 / 3_600_000;
    match hours {
        0 => "less than an hour ago".to_owned(),
        1..48 => format!("{hours} h ago"),
        _ => format!("{} days ago", hours / 24),
    }
}
