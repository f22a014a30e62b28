//! `chancery namespace`.

use chancery_client::proto::cluster::v1::{
    CreateNamespaceRequest, DestroyNamespaceRequest, GetNamespaceRequest, ListNamespacesRequest, Namespace,
    ReleaseNamespaceRequest, RestoreNamespaceRequest, UpdateNamespaceRequest,
};
use clap::{Args, Subcommand};
use types::{Millis, NamespaceName, Reason};

use super::pages::{PAGE_SIZE, all};
use crate::context::Context;
use crate::failure::Failure;
use crate::namespace_views::NamespaceView;
use crate::output::{Format, line};
use crate::values::{duration, to_wire_duration};
use crate::views::List;

/// The verbs of `namespace`.
#[derive(Subcommand, Debug)]
pub(crate) enum NamespaceCommand {
    /// Create a namespace
    Create(SettingsArgs),
    /// List the namespaces
    List,
    /// Describe a namespace
    Describe {
        /// Which
        name: NamespaceName,
    },
    /// Change the settings of a namespace; what is not named stays
    Update(SettingsArgs),
    /// Let a namespace be used that was restored from a backup
    ///
    /// A restore without a ledger that accounts for what came after the backup quarantines every namespace: its keys are not
    /// used, not even to decrypt, and nothing is issued for its entries. Look through the keys, entries, operators and agents
    /// first: what was destroyed or revoked after the backup is back, and is to be destroyed and revoked again.
    Release {
        /// Which
        name: NamespaceName,
    },
    /// Close a namespace, and destroy its key-encryption key when the waiting period is over
    ///
    /// When this command has ended nothing in it is used on any node: no key encrypts, decrypts or signs, and nothing is issued for its
    /// entries. Until the waiting period is over `namespace restore` takes that back, and all is as it was. Then its key is destroyed, and
    /// with it every key in it, for good, whatever their number; the name stays taken. The receipt, in `namespace describe`, says
    /// which nodes have erased it and which backups may still hold it.
    Destroy(DestroyArgs),
    /// Take back that a namespace is to be destroyed: what was used in it is used again
    Restore {
        /// Which
        name: NamespaceName,
    },
}

/// Arguments of `namespace destroy`.
#[derive(Args, Debug)]
pub(crate) struct DestroyArgs {
    /// Which
    name: NamespaceName,
    /// From now to the destruction, for example 7d; 30d or the namespace's floor when absent
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    waiting_period: Option<Millis>,
    /// Have every node erase it from its disk as soon as it is destroyed, not within 24 hours
    #[arg(long)]
    now: bool,
    /// Check everything, change nothing
    #[arg(long)]
    validate_only: bool,
}

/// A bound, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most(Option<u32>);

fn most(text: &str) -> Result<Most, String> {
    if text == "none" {
        return Ok(Most(None));
    }
    text.parse().map(|number| Most(Some(number))).map_err(|_| "give a number or `none`".to_owned())
}

/// A namespace and its settings.
#[derive(Args, Debug)]
pub(crate) struct SettingsArgs {
    /// Which
    name: NamespaceName,
    /// No rotation period of its keys may be shorter
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    rotation_floor: Option<Millis>,
    /// DNS suffix that its entries may use; may be repeated
    #[arg(long = "dns-suffix", value_name = "SUFFIX")]
    dns_suffixes: Vec<String>,
    /// No key of it is destroyed sooner after `key destroy`, for example 7d; 24h when a namespace is made without
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    waiting_period_floor: Option<Millis>,
    /// Most keys, destroyed ones not counted, or `none`
    #[arg(long, value_name = "N", value_parser = most)]
    max_keys: Option<Most>,
    /// Most entries, or `none`
    #[arg(long, value_name = "N", value_parser = most)]
    max_entries: Option<Most>,
}

/// Runs a verb.
pub(crate) async fn run(command: NamespaceCommand, context: &Context) -> Result<(), Failure> {
    let done = match command {
        NamespaceCommand::Create(args) => create(args, context).await,
        NamespaceCommand::List => list(context).await,
        NamespaceCommand::Describe { name } => describe(&name, context).await,
        NamespaceCommand::Update(args) => update(args, context).await,
        NamespaceCommand::Release { name } => release(&name, context).await,
        NamespaceCommand::Destroy(args) => destroy(args, context).await,
        NamespaceCommand::Restore { name } => restore(&name, context).await,
    };
    done.map_err(|failure| failure.hint_for(Reason::NotFound, "chancery namespace list"))
}

async fn create(args: SettingsArgs, context: &Context) -> Result<(), Failure> {
    let namespace = Namespace {
        rotation_floor: args.rotation_floor.map(to_wire_duration),
        dns_suffixes: args.dns_suffixes,
        waiting_period_floor: args.waiting_period_floor.map(to_wire_duration),
        max_keys: args.max_keys.and_then(|Most(most)| most),
        max_entries: args.max_entries.and_then(|Most(most)| most),
        ..Namespace::default()
    };
    let request = CreateNamespaceRequest {
        namespace_id: args.name.to_string(),
        namespace: Some(namespace),
        ..CreateNamespaceRequest::default()
    };
    let made = context.client().await?.namespaces().create(request).await?;
    say(context, "created", made)
}

async fn list(context: &Context) -> Result<(), Failure> {
    let namespaces = context.client().await?.namespaces();
    let fetch = async |page_token| {
        let request = ListNamespacesRequest { page_size: PAGE_SIZE, page_token };
        namespaces.list(request).await.map(|page| (page.namespaces, page.next_page_token))
    };
    context.print(&List(all(fetch).await?.into_iter().map(NamespaceView::from).collect()))
}

async fn describe(name: &NamespaceName, context: &Context) -> Result<(), Failure> {
    let request = GetNamespaceRequest { name: format!("namespaces/{name}") };
    context.print(&NamespaceView::from(context.client().await?.namespaces().get(request).await?))
}

async fn update(args: SettingsArgs, context: &Context) -> Result<(), Failure> {
    let namespaces = context.client().await?.namespaces();
    let seen = namespaces.get(GetNamespaceRequest { name: format!("namespaces/{}", args.name) }).await?;
    let dns_suffixes = if args.dns_suffixes.is_empty() { seen.dns_suffixes.clone() } else { args.dns_suffixes };
    let rotation_floor = args.rotation_floor.map(to_wire_duration).or(seen.rotation_floor);
    let waiting_period_floor = args.waiting_period_floor.map(to_wire_duration).or(seen.waiting_period_floor);
    let max_keys = args.max_keys.map_or(seen.max_keys, |Most(most)| most);
    let max_entries = args.max_entries.map_or(seen.max_entries, |Most(most)| most);
    let namespace = Namespace { rotation_floor, dns_suffixes, waiting_period_floor, max_keys, max_entries, ..seen };
    let request = UpdateNamespaceRequest { namespace: Some(namespace), ..UpdateNamespaceRequest::default() };
    let changed = namespaces.update(request).await?;
    say(context, "updated", changed)
}

async fn release(name: &NamespaceName, context: &Context) -> Result<(), Failure> {
    let request = ReleaseNamespaceRequest { name: format!("namespaces/{name}"), ..ReleaseNamespaceRequest::default() };
    let released = context.client().await?.namespaces().release(request).await?;
    say(context, "released", released)
}

async fn destroy(args: DestroyArgs, context: &Context) -> Result<(), Failure> {
    let DestroyArgs { name, waiting_period, now, validate_only } = args;
    let request = DestroyNamespaceRequest {
        name: format!("namespaces/{name}"),
        waiting_period: waiting_period.map(to_wire_duration),
        erase_now: now,
        validate_only,
        ..DestroyNamespaceRequest::default()
    };
    let answer = context.client().await?.namespaces().destroy(request).await.map_err(|error| {
        let unprotect = format!("chancery key update NAME --deletion-protection off --namespace {name}");
        Failure::from(error).hint_about(Reason::PreconditionFailed, "protected from deletion", unprotect)
    })?;
    let view = NamespaceView::from(answer);
    let words = match (validate_only, &view.scheduled_destroy_time) {
        (true, _) => format!("would destroy namespaces/{name} with its {} keys", view.keys),
        (false, Some(_)) => format!(
            "namespaces/{name} with its {} keys is {}; until then `chancery namespace restore {name}` takes that back",
            view.keys,
            view.end()
        ),
        (false, None) => {
            let receipt = view.receipt.as_ref().map(|receipt| format!("\n{}", receipt.text())).unwrap_or_default();
            format!("namespaces/{name} {}{receipt}", view.end())
        }
    };
    match context.format() {
        Format::Table => line(&words),
        _ => context.print(&view),
    }
}

async fn restore(name: &NamespaceName, context: &Context) -> Result<(), Failure> {
    let request = RestoreNamespaceRequest { name: format!("namespaces/{name}"), ..RestoreNamespaceRequest::default() };
    let restored = context.client().await?.namespaces().restore(request).await?;
    say(context, "restored", restored)
}

fn say(context: &Context, did: &str, namespace: Namespace) -> Result<(), Failure> {
    match context.format() {
        Format::Table => line(&format!("{did} {}", namespace.name)),
        _ => context.print(&NamespaceView::from(namespace)),
    }
}
