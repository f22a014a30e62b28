//! `chancery key`: the life of keys. Using them is `encrypt`, `decrypt`, `rewrap`, `data-key`, `sign`, `verify` and `mac`.

use std::path::{Path, PathBuf};

use chancery_client::proto::kms::v1::{
    ActivateKeyVersionRequest, CreateKeyRequest, DestroyKeyRequest, DisableKeyRequest, EnableKeyRequest, GetKeyRequest,
    GetPublicKeyRequest, Key, ListKeyVersionsRequest, ListKeysRequest, RestoreKeyRequest, RotateKeyRequest,
    UpdateKeyRequest,
};
use chancery_client::{Error, private_file};
use clap::{Args, Subcommand};
use serde::Serialize;
use types::{KeyName, Millis, Reason, Time};

use super::context_pairs::pair;
use super::pages::{PAGE_SIZE, all};
use crate::algorithms::{PublicKeyView, algorithms, parse_algorithm};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::key_views::{ForecastView, KeyView, VersionView};
use crate::output::{self, Format, Show};
use crate::usage_args::UsageArgs;
use crate::values::{called, duration, from_wire_time, minute, now, short, to_wire_duration};
use crate::views::List;

/// The verbs of `key`.
#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// Create a key with its first version
    Create(CreateArgs),
    /// List the keys of the namespace
    List,
    /// Describe a key
    Describe(NamedOrAlias),
    /// List the versions of a key, newest first
    Versions(Named),
    /// Add a version and make it primary; the others still decrypt and verify
    Rotate(RotateArgs),
    /// Make a pre-active version the primary one
    Activate(NamedVersion),
    /// Let a key, or one version of it, be used again
    Enable(OneVersion),
    /// Stop a key, or one version of it, from being used
    Disable(OneVersion),
    /// Destroy a disabled version, or a key of which no version is enabled, for good, when its waiting period is over
    ///
    /// When this command has ended no node serves it, and until the waiting period is over (`key describe` says when that is)
    /// `key restore` takes it back. Then what it encrypted cannot be read any more, by anybody; a key pair's public half stays, so what
    /// it signed can still be verified. From the disks of the nodes, where it is wrapped and sealed, it is erased within
    /// 24 hours after that, or at once with --now. The receipt says which nodes have done so and which backups may still hold it;
    /// `key describe` shows it as it goes on.
    Destroy(DestroyArgs),
    /// Take back that a key, or one version of it, is to be destroyed: it is disabled then
    Restore(OneVersion),
    /// Change when a key rotates by itself, its labels, which versions may be used, or how it may be destroyed
    Update(UpdateArgs),
    /// Say when each key of the namespace, or one of them, rotates next by itself, the next one first
    Forecast(ForecastArgs),
    /// Print the public half of a version, for whoever verifies or encrypts without the service
    PublicKey(PublicKeyArgs),
}

/// Arguments of `key create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Lowercase letters, digits and hyphens
    name: KeyName,
    /// What it is for: encryption, MACs, signatures, or decryption of what others encrypt to its public key
    #[arg(long, value_name = "ALGORITHM", default_value = "aes-256-gcm", value_parser = algorithms())]
    algorithm: String,
    /// Rotate by itself this often, for example 90d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    rotation_period: Option<Millis>,
    /// Rotate by time up to this much sooner, each version by another part of it: keys that were made together do not rotate together
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "rotation_period")]
    rotation_jitter: Option<Millis>,
    #[command(flatten)]
    usage: UsageArgs,
    /// Label, for people and filters; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Refuse to destroy anything of it until `key update --deletion-protection off`
    #[arg(long)]
    deletion_protection: bool,
    /// From `key destroy` to the destruction, for example 7d; 30d or the namespace's floor when absent
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    waiting_period: Option<Millis>,
    /// Check everything, change nothing
    #[arg(long)]
    validate_only: bool,
}

/// Arguments of `key rotate`.
#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    what: Named,
    /// Make the version and do not use it before `key activate`: its public key can be handed out first
    #[arg(long)]
    pre_active: bool,
}

/// A version of a key.
#[derive(Args, Debug)]
pub(crate) struct NamedVersion {
    /// Short name, or namespaces/NAMESPACE/keys/NAME
    key: String,
    /// Which version
    #[arg(id = "only", long = "version", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
}

/// A key by name.
#[derive(Args, Debug)]
pub(crate) struct Named {
    /// Short name, or namespaces/NAMESPACE/keys/NAME
    key: String,
}

/// A key by its name or by an alias.
#[derive(Args, Debug)]
pub(crate) struct NamedOrAlias {
    /// Short name, alias/NAME, or namespaces/NAMESPACE/keys/NAME
    key: String,
}

/// A key or one of its versions.
#[derive(Args, Debug)]
pub(crate) struct OneVersion {
    /// Short name, or namespaces/NAMESPACE/keys/NAME
    key: String,
    /// Only this version
    #[arg(id = "only", long = "version", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
}

/// Arguments of `key destroy`.
#[derive(Args, Debug)]
pub(crate) struct DestroyArgs {
    #[command(flatten)]
    what: OneVersion,
    /// Have every node erase it from its disk as soon as it is destroyed, not within 24 hours
    #[arg(long)]
    now: bool,
    /// Check everything, change nothing
    #[arg(long)]
    validate_only: bool,
}

/// Arguments of `key update`.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// Short name, or namespaces/NAMESPACE/keys/NAME
    key: String,
    #[command(flatten)]
    changes: Changes,
}

/// Every option of [`Changes`]: what is flattened into it would not be in its group by itself.
const CHANGES: [&str; 12] = [
    "rotation_period",
    "no_rotation",
    "rotation_jitter",
    "rotate_after_uses",
    "rotate_after_bytes",
    "max_uses",
    "max_bytes",
    "labels",
    "removed",
    "deletion_protection",
    "waiting_period",
    "min_version",
];

/// What `key update` changes: something at least.
#[derive(Args, Debug)]
#[group(required = true, multiple = true, args = CHANGES)]
pub(crate) struct Changes {
    /// Rotate by itself this often, for example 90d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    rotation_period: Option<Millis>,
    /// No longer rotate by time
    #[arg(long, conflicts_with_all = ["rotation_period", "rotation_jitter"])]
    no_rotation: bool,
    /// Rotate by time up to this much sooner, or 0s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    rotation_jitter: Option<Millis>,
    #[command(flatten)]
    usage: UsageArgs,
    /// Set this label beside those that it has; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Remove this label; may be repeated
    #[arg(long = "remove-label", value_name = "KEY")]
    removed: Vec<String>,
    /// Whether destroying anything of it is refused
    #[arg(long, value_name = "on|off", value_parser = on_or_off)]
    deletion_protection: Option<bool>,
    /// From `key destroy` to the destruction, for what is destroyed from now on
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    waiting_period: Option<Millis>,
    /// The lowest version that may be used: nothing that a lower one encrypted or signed is taken any more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    min_version: Option<u32>,
}

/// Arguments of `key forecast`.
#[derive(Args, Debug)]
pub(crate) struct ForecastArgs {
    /// Short name, alias/NAME, or namespaces/NAMESPACE/keys/NAME; all of the namespace when absent
    key: Option<String>,
    /// Only what is due within this time, for example 30d, and what may be because nobody knows yet how much it is used
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    within: Option<Millis>,
}

/// Arguments of `key public-key`.
#[derive(Args, Debug)]
pub(crate) struct PublicKeyArgs {
    /// Short name, alias/NAME, or namespaces/NAMESPACE/keys/NAME
    key: String,
    /// Of this version instead of the primary one; disabled and destroyed ones have theirs too
    #[arg(id = "only", long = "version", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// How it is written
    #[arg(long, value_enum, default_value = "pem")]
    format: PublicKeyFormat,
    /// Write it to this file instead of stdout
    #[arg(id = "out", long = "out", value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum PublicKeyFormat {
    /// RFC 7468
    Pem,
    /// SubjectPublicKeyInfo, RFC 5280
    Der,
    /// JSON Web Key, RFC 7517
    Jwk,
}

/// A key after a change, and the words for it.
#[derive(Serialize)]
#[serde(transparent)]
struct Changed {
    key: KeyView,
    #[serde(skip)]
    words: String,
}

impl Show for Changed {
    fn text(&self) -> String {
        self.words.clone()
    }
}

/// Runs a verb.
pub(crate) async fn run(command: KeyCommand, context: &Context) -> Result<(), Failure> {
    let done = match command {
        KeyCommand::Create(args) => create(args, context).await,
        KeyCommand::List => list(context).await,
        KeyCommand::Describe(args) => describe(&args.key, context).await,
        KeyCommand::Versions(args) => versions(&args.key, context).await,
        KeyCommand::Rotate(args) => rotate(args, context).await,
        KeyCommand::Activate(args) => activate(args, context).await,
        KeyCommand::Restore(args) => restore(args, context).await,
        KeyCommand::Enable(args) => set_enabled(args, context, Use::Enable).await,
        KeyCommand::Disable(args) => set_enabled(args, context, Use::Disable).await,
        KeyCommand::Destroy(args) => destroy(args, context).await,
        KeyCommand::Update(args) => update(args, context).await,
        KeyCommand::Forecast(args) => forecast(args, context).await,
        KeyCommand::PublicKey(args) => public_key(args, context).await,
    };
    done.map_err(|failure| failure.or_hint_for(Reason::NotFound, "chancery key list"))
}

async fn create(args: CreateArgs, context: &Context) -> Result<(), Failure> {
    let request = CreateKeyRequest {
        parent: context.parent(),
        key_id: args.name.to_string(),
        algorithm: parse_algorithm(&args.algorithm).into(),
        labels: args.labels.into_iter().collect(),
        deletion_protection: args.deletion_protection,
        rotation_period: args.rotation_period.map(to_wire_duration),
        rotation_jitter: args.rotation_jitter.map(to_wire_duration),
        rotate_after: args.usage.rotate_after(),
        ceiling: args.usage.ceiling(),
        waiting_period: args.waiting_period.map(to_wire_duration),
        validate_only: args.validate_only,
        ..CreateKeyRequest::default()
    };
    let key = KeyView::from(context.client().await?.keys().create(request).await?);
    let did = if args.validate_only { "would create" } else { "created" };
    let words = format!("{did} {}/keys/{} v{}{}", context.parent(), args.name, key.primary_version.max(1), key.next());
    context.print(&Changed { words, key })
}

async fn list(context: &Context) -> Result<(), Failure> {
    context.print(&List(all_keys(context).await?.into_iter().map(KeyView::from).collect()))
}

async fn all_keys(context: &Context) -> Result<Vec<Key>, Failure> {
    let keys = context.client().await?.keys();
    let fetch = async |page_token| {
        let request = ListKeysRequest { parent: context.parent(), page_size: PAGE_SIZE, page_token };
        keys.list(request).await.map(|page| (page.keys, page.next_page_token))
    };
    Ok(all(fetch).await?)
}

async fn forecast(args: ForecastArgs, context: &Context) -> Result<(), Failure> {
    let keys = match &args.key {
        Some(key) => {
            let request = GetKeyRequest { name: context.key_or_alias(key)? };
            vec![context.client().await?.keys().get(request).await?]
        }
        None => all_keys(context).await?,
    };
    let latest = args.within.map_or(Time::NEVER, |within| now().after(within));
    let mut rotating: Vec<_> = keys.iter().filter_map(ForecastView::of).collect();
    if let ([], Some(key)) = (rotating.as_slice(), &args.key) {
        let message = format!("`{key}` does not rotate by itself");
        return Err(
            Failure::new(Exit::Conflict, message).hint(format!("chancery key update {key} --rotation-period 90d"))
        );
    }
    // One whose pace is not known may rotate at any time.
    rotating.retain(|forecast| forecast.when() <= latest || forecast.when() == Time::NEVER);
    // By name within a moment, as they came.
    rotating.sort_by_key(ForecastView::when);
    context.print(&List(rotating))
}

async fn describe(key: &str, context: &Context) -> Result<(), Failure> {
    let request = GetKeyRequest { name: context.key_or_alias(key)? };
    context.print(&KeyView::from(context.client().await?.keys().get(request).await?))
}

async fn versions(key: &str, context: &Context) -> Result<(), Failure> {
    let (parent, keys) = (context.key(key)?, context.client().await?.keys());
    let fetch = async |page_token| {
        let request = ListKeyVersionsRequest { parent: parent.clone(), page_size: PAGE_SIZE, page_token };
        keys.versions(request).await.map(|page| (page.versions, page.next_page_token))
    };
    let key = keys.get(GetKeyRequest { name: parent.clone() }).await?;
    let versions = all(fetch).await?.into_iter().map(|version| VersionView::of(version, &key));
    context.print(&List(versions.collect()))
}

async fn rotate(args: RotateArgs, context: &Context) -> Result<(), Failure> {
    let RotateArgs { what, pre_active } = args;
    let keys = context.client().await?.keys();
    let name = context.key(&what.key)?;
    let request = RotateKeyRequest { name: name.clone(), pre_active, ..RotateKeyRequest::default() };
    let key = KeyView::from(keys.rotate(request).await?);
    let (now, short) = (key.primary_version, short(&key.name));
    let words = if pre_active {
        let newest = ListKeyVersionsRequest { parent: name, page_size: 1, ..ListKeyVersionsRequest::default() };
        let newest = keys.versions(newest).await?.versions.first().map_or(0, |version| version.version);
        format!(
            "{short} v{newest} made, and not used before `chancery key activate {} --version {newest}`; v{now} stays primary",
            what.key
        )
    } else if now % types::limits::KEY_VERSION_STEP == 0 {
        format!("{short} → v{now} primary, the first since a restore; older versions stay as they are")
    } else {
        format!("{short} → v{now} primary; older versions stay as they are")
    };
    context.print(&Changed { words, key })
}

async fn activate(args: NamedVersion, context: &Context) -> Result<(), Failure> {
    let NamedVersion { key, version } = args;
    let (name, keys) = (context.key(&key)?, context.client().await?.keys());
    let request = ActivateKeyVersionRequest { name, version, ..ActivateKeyVersionRequest::default() };
    let answer = keys.activate(request).await.map_err(|error| see_versions(error, &key))?;
    let key = KeyView::from(answer);
    context.print(&Changed {
        words: format!("{} → v{version} primary; older versions stay as they are", short(&key.name)),
        key,
    })
}

async fn restore(args: OneVersion, context: &Context) -> Result<(), Failure> {
    let (name, keys) = (context.key(&args.key)?, context.client().await?.keys());
    let (version, what) = (args.version.unwrap_or(0), of_version(args.version));
    let request = RestoreKeyRequest { name, version, ..RestoreKeyRequest::default() };
    let answer = keys.restore(request).await.map_err(|error| see_versions(error, &args.key))?;
    let key = KeyView::from(answer);
    let only = args.version.map(|version| format!(" --version {version}")).unwrap_or_default();
    let words = format!(
        "{}{what} restored and disabled: `chancery key enable {}{only}` lets it be used",
        short(&key.name),
        args.key
    );
    context.print(&Changed { words, key })
}

/// The versions say why not.
fn see_versions(error: Error, key: &str) -> Failure {
    let versions = format!("chancery key versions {key}");
    let failure = Failure::from(error).hint_for(Reason::PreconditionFailed, versions.clone());
    failure.hint_about(Reason::NotFound, "key version", versions)
}

fn of_version(version: Option<u32>) -> String {
    version.map(|version| format!(" v{version}")).unwrap_or_default()
}

async fn public_key(args: PublicKeyArgs, context: &Context) -> Result<(), Failure> {
    let name = context.key_or_alias(&args.key)?;
    let request = GetPublicKeyRequest { name: name.clone(), version: args.version.unwrap_or_default() };
    if let Some(path) = &args.output {
        private_file::check_replaceable(path)?;
    }
    let answer = context.client().await?.keys().public_key(request).await.map_err(|error| {
        let versions = format!("chancery key versions {}", args.key);
        Failure::from(error)
            .hint_about(Reason::NotFound, "key version", versions)
            .hint_for(Reason::WrongPurpose, format!("chancery key describe {}", args.key))
    })?;
    let bytes = match args.format {
        PublicKeyFormat::Pem => answer.pem.clone().into_bytes(),
        PublicKeyFormat::Der => answer.der.clone(),
        PublicKeyFormat::Jwk => format!("{}\n", answer.jwk).into_bytes(),
    };
    match (&args.output, context.format()) {
        (Some(path), _) => {
            public_file(path, &bytes)?;
            context.print(&PublicKeyView::new(&answer, format!("public key of {} v{}", called(&name), answer.version)))
        }
        (None, Format::Table) => output::bytes(&bytes),
        (None, _) => context.print(&PublicKeyView::new(&answer, String::new())),
    }
}

/// Writes what everybody may read.
fn public_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes)
        .map_err(|error| Failure::new(Exit::Failed, format!("`{}` could not be written: {error}", path.display())))
}

#[derive(Clone, Copy)]
enum Use {
    Enable,
    Disable,
}

async fn set_enabled(args: OneVersion, context: &Context, to: Use) -> Result<(), Failure> {
    let (name, version) = (context.key(&args.key)?, args.version.unwrap_or(0));
    let keys = context.client().await?.keys();
    let (answer, did) = match to {
        Use::Enable => {
            let request = EnableKeyRequest { name, version, ..EnableKeyRequest::default() };
            (keys.enable(request).await, "enabled")
        }
        Use::Disable => {
            let request = DisableKeyRequest { name, version, ..DisableKeyRequest::default() };
            (keys.disable(request).await, "disabled")
        }
    };
    let key = answer.map_err(|error| {
        let hint = format!("chancery key versions {}", args.key);
        Failure::from(error).hint_about(Reason::NotFound, "key version", hint)
    })?;
    let key = KeyView::from(key);
    let what = of_version(args.version);
    let primary = match to {
        Use::Disable if args.version == Some(key.primary_version) => {
            format!("; it is the primary version: nothing new is made before `chancery key rotate {}`", args.key)
        }
        _ => String::new(),
    };
    context.print(&Changed { words: format!("{}{what} {did}{primary}", short(&key.name)), key })
}

async fn destroy(args: DestroyArgs, context: &Context) -> Result<(), Failure> {
    let DestroyArgs { what, now, validate_only } = args;
    let (name, keys) = (context.key(&what.key)?, context.client().await?.keys());
    let version = what.version.unwrap_or(0);
    let request = DestroyKeyRequest { name, version, erase_now: now, validate_only, ..DestroyKeyRequest::default() };
    let answer = keys.destroy(request).await.map_err(|error| {
        let disable = what.version.map_or_else(
            || format!("chancery key disable {}", what.key),
            |version| format!("chancery key disable {} --version {version}", what.key),
        );
        Failure::from(error)
            .hint_about(Reason::NotFound, "key version", format!("chancery key versions {}", what.key))
            .hint_for(Reason::PreconditionFailed, disable)
            .hint_about(
                Reason::PreconditionFailed,
                "protected from deletion",
                format!("chancery key update {} --deletion-protection off", what.key),
            )
    })?;
    let due = match what.version {
        Some(number) => {
            let mut waiting = answer.scheduled_versions.iter();
            waiting.find(|version| version.version == number).and_then(|version| version.scheduled_destroy_time)
        }
        None => answer.scheduled_destroy_time,
    };
    let key = KeyView::from(answer);
    let version = of_version(what.version);
    let words = match due {
        _ if validate_only => format!("{}{version} would be destroyed", short(&key.name)),
        Some(due) => format!(
            "{}{version} is not used any more and will be destroyed {}; until then `chancery key restore {}{}` takes that back",
            short(&key.name),
            minute(from_wire_time(&due)),
            what.key,
            what.version.map(|version| format!(" --version {version}")).unwrap_or_default(),
        ),
        None => {
            let receipt = key.receipts.first().map(|receipt| format!("\n{}", receipt.text())).unwrap_or_default();
            format!("{}{version} destroyed{receipt}", short(&key.name))
        }
    };
    context.print(&Changed { words, key })
}

async fn update(args: UpdateArgs, context: &Context) -> Result<(), Failure> {
    let (name, keys) = (context.key(&args.key)?, context.client().await?.keys());
    // What is changed is what was seen: another change in between is refused, not overwritten.
    let seen = keys.get(GetKeyRequest { name: name.clone() }).await?;
    let Changes {
        rotation_period,
        no_rotation,
        rotation_jitter,
        usage,
        labels,
        removed,
        deletion_protection,
        waiting_period,
        min_version,
    } = args.changes;
    let mut paths: Vec<String> = usage.paths().map(str::to_owned).collect();
    let mut changes = |path: &str, changes: bool| paths.extend(changes.then(|| path.to_owned()));
    changes("rotation_period", rotation_period.is_some() || no_rotation);
    changes("rotation_jitter", rotation_jitter.is_some());
    changes("labels", !labels.is_empty() || !removed.is_empty());
    changes("deletion_protection", deletion_protection.is_some());
    changes("waiting_period", waiting_period.is_some());
    changes("min_version", min_version.is_some());
    let mut all = seen.labels;
    for label in &removed {
        if all.remove(label).is_none() {
            return Err(Failure::new(Exit::NotFound, format!("the key has no label `{label}`, nothing was changed")));
        }
    }
    all.extend(labels);
    let request = UpdateKeyRequest {
        name,
        rotation_period: rotation_period.map(to_wire_duration),
        rotation_jitter: rotation_jitter.map(to_wire_duration),
        rotate_after: usage.rotate_after(),
        ceiling: usage.ceiling(),
        labels: all,
        deletion_protection: deletion_protection.unwrap_or_default(),
        waiting_period: waiting_period.map(to_wire_duration),
        min_version: min_version.unwrap_or_default(),
        update_mask: Some(prost_types::FieldMask { paths: paths.clone() }),
        etag: seen.etag,
        ..UpdateKeyRequest::default()
    };
    let key = KeyView::from(keys.update(request).await?);
    let of_rotation = match key.rotation_period {
        _ if !paths.iter().any(|path| path.starts_with("rotat")) => String::new(),
        None if key.next().is_empty() => "; it does not rotate by itself".to_owned(),
        _ => key.next(),
    };
    context.print(&Changed { words: format!("{} updated{of_rotation}", short(&key.name)), key })
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("it is on or off".to_owned()),
    }
}
