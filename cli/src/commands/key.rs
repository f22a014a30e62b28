//! `chancery key`: the life of keys. Using them is `encrypt`, `decrypt`, `rewrap` and `data-key`.

use chancery_client::proto::kms::v1::{
    CreateKeyRequest, DestroyKeyRequest, DisableKeyRequest, EnableKeyRequest, GetKeyRequest, ListKeyVersionsRequest,
    ListKeysRequest, RotateKeyRequest, UpdateKeyRequest,
};
use clap::{Args, Subcommand};
use serde::Serialize;
use types::{KeyName, Millis, Reason};

use super::pages::{PAGE_SIZE, all};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Show;
use crate::values::{duration, short, to_wire_duration};
use crate::views::{KeyView, List, VersionView};

/// The verbs of `key`.
#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// Create a key with its first version
    Create(CreateArgs),
    /// List the keys of the namespace
    List,
    /// Describe a key
    Describe(Named),
    /// List the versions of a key, newest first
    Versions(Named),
    /// Add a version and make it primary; the others still decrypt
    Rotate(Named),
    /// Let a key, or one version of it, be used again
    Enable(OneVersion),
    /// Stop a key, or one version of it, from being used
    Disable(OneVersion),
    /// Destroy a disabled version, or a key of which no version is enabled: at once and for good
    ///
    /// What it encrypted cannot be read any more, by anybody. When this command has ended no node serves it; from the disks of the
    /// nodes, where it is wrapped and sealed, it is erased within 24 hours, or at once with --now. The receipt says which
    /// nodes have done so and which backups may still hold it; `key describe` shows it as it goes on.
    Destroy(DestroyArgs),
    /// Change when a key rotates by itself
    Update(UpdateArgs),
}

/// Arguments of `key create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Lowercase letters, digits and hyphens
    name: KeyName,
    /// Rotate by itself this often, for example 90d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    rotation_period: Option<Millis>,
    /// Check everything, change nothing
    #[arg(long)]
    validate_only: bool,
}

/// A key by name.
#[derive(Args, Debug)]
pub(crate) struct Named {
    /// Short name, or namespaces/NAMESPACE/keys/NAME
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
    /// Have every node erase it from its disk at once, not within 24 hours
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
    /// Rotate by itself this often, for example 90d
    #[arg(long, value_name = "DURATION", value_parser = duration, required_unless_present = "no_rotation")]
    rotation_period: Option<Millis>,
    /// No longer rotate by itself
    #[arg(long, conflicts_with = "rotation_period")]
    no_rotation: bool,
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
        KeyCommand::Rotate(args) => rotate(&args.key, context).await,
        KeyCommand::Enable(args) => set_enabled(args, context, Use::Enable).await,
        KeyCommand::Disable(args) => set_enabled(args, context, Use::Disable).await,
        KeyCommand::Destroy(args) => destroy(args, context).await,
        KeyCommand::Update(args) => update(args, context).await,
    };
    done.map_err(|failure| failure.or_hint_for(Reason::NotFound, "chancery key list"))
}

async fn create(args: CreateArgs, context: &Context) -> Result<(), Failure> {
    let request = CreateKeyRequest {
        parent: context.parent(),
        key_id: args.name.to_string(),
        rotation_period: args.rotation_period.map(to_wire_duration),
        validate_only: args.validate_only,
        ..CreateKeyRequest::default()
    };
    let key = KeyView::from(context.client().await?.keys().create(request).await?);
    let did = if args.validate_only { "would create" } else { "created" };
    let words = format!("{did} {}/keys/{} v{}{}", context.parent(), args.name, key.primary_version.max(1), key.next());
    context.print(&Changed { words, key })
}

async fn list(context: &Context) -> Result<(), Failure> {
    let keys = context.client().await?.keys();
    let fetch = async |page_token| {
        let request = ListKeysRequest { parent: context.parent(), page_size: PAGE_SIZE, page_token };
        keys.list(request).await.map(|page| (page.keys, page.next_page_token))
    };
    context.print(&List(all(fetch).await?.into_iter().map(KeyView::from).collect()))
}

async fn describe(key: &str, context: &Context) -> Result<(), Failure> {
    let request = GetKeyRequest { name: context.key(key)? };
    context.print(&KeyView::from(context.client().await?.keys().get(request).await?))
}

async fn versions(key: &str, context: &Context) -> Result<(), Failure> {
    let (parent, keys) = (context.key(key)?, context.client().await?.keys());
    let fetch = async |page_token| {
        let request = ListKeyVersionsRequest { parent: parent.clone(), page_size: PAGE_SIZE, page_token };
        keys.versions(request).await.map(|page| (page.versions, page.next_page_token))
    };
    context.print(&List(all(fetch).await?.into_iter().map(VersionView::from).collect()))
}

async fn rotate(key: &str, context: &Context) -> Result<(), Failure> {
    let request = RotateKeyRequest { name: context.key(key)?, ..RotateKeyRequest::default() };
    let key = KeyView::from(context.client().await?.keys().rotate(request).await?);
    let (now, before) = (key.primary_version, key.primary_version.saturating_sub(1));
    let name = short(&key.name);
    let words = if now % types::limits::KEY_VERSION_STEP == 0 {
        format!("{name} → v{now} primary, the first since a restore; older versions still decrypt")
    } else {
        format!("{name} v{before} → v{now} primary; v{before} still decrypts")
    };
    context.print(&Changed { words, key })
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
    let what = args.version.map(|version| format!(" v{version}")).unwrap_or_default();
    context.print(&Changed { words: format!("{}{what} {did}", short(&key.name)), key })
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
    })?;
    let key = KeyView::from(answer);
    let version = what.version.map(|version| format!(" v{version}")).unwrap_or_default();
    let did = if validate_only { "would be destroyed" } else { "destroyed" };
    let receipt = key.receipts.first().filter(|_| !validate_only);
    let receipt = receipt.map(|receipt| format!("\n{}", receipt.text())).unwrap_or_default();
    context.print(&Changed { words: format!("{}{version} {did}{receipt}", short(&key.name)), key })
}

async fn update(args: UpdateArgs, context: &Context) -> Result<(), Failure> {
    let (name, keys) = (context.key(&args.key)?, context.client().await?.keys());
    // What is changed is what was seen: another change in between is refused, not overwritten.
    let seen = keys.get(GetKeyRequest { name: name.clone() }).await?;
    let rotation_period = args.rotation_period.map(to_wire_duration);
    let request = UpdateKeyRequest { name, rotation_period, etag: seen.etag, ..UpdateKeyRequest::default() };
    let key = KeyView::from(keys.update(request).await?);
    let words = match key.rotation_period {
        Some(_) => format!("{} updated{}", short(&key.name), key.next()),
        None => format!("{} updated; it no longer rotates by itself", short(&key.name)),
    };
    context.print(&Changed { words, key })
}
