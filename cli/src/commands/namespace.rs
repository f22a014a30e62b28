//! `chancery namespace`.

use chancery_client::proto::cluster::v1::{
    CreateNamespaceRequest, GetNamespaceRequest, ListNamespacesRequest, Namespace, ReleaseNamespaceRequest,
    UpdateNamespaceRequest,
};
use clap::{Args, Subcommand};
use types::{Millis, NamespaceName, Reason};

use super::pages::{PAGE_SIZE, all};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, line};
use crate::values::{duration, to_wire_duration};
use crate::views::{List, NamespaceView};

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
}

/// Runs a verb.
pub(crate) async fn run(command: NamespaceCommand, context: &Context) -> Result<(), Failure> {
    let done = match command {
        NamespaceCommand::Create(args) => create(args, context).await,
        NamespaceCommand::List => list(context).await,
        NamespaceCommand::Describe { name } => describe(&name, context).await,
        NamespaceCommand::Update(args) => update(args, context).await,
        NamespaceCommand::Release { name } => release(&name, context).await,
    };
    done.map_err(|failure| failure.hint_for(Reason::NotFound, "chancery namespace list"))
}

async fn create(args: SettingsArgs, context: &Context) -> Result<(), Failure> {
    let namespace = Namespace {
        rotation_floor: args.rotation_floor.map(to_wire_duration),
        dns_suffixes: args.dns_suffixes,
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
    let namespace = Namespace { rotation_floor, dns_suffixes, ..seen };
    let request = UpdateNamespaceRequest { namespace: Some(namespace), ..UpdateNamespaceRequest::default() };
    let changed = namespaces.update(request).await?;
    say(context, "updated", changed)
}

async fn release(name: &NamespaceName, context: &Context) -> Result<(), Failure> {
    let request = ReleaseNamespaceRequest { name: format!("namespaces/{name}"), ..ReleaseNamespaceRequest::default() };
    let released = context.client().await?.namespaces().release(request).await?;
    say(context, "released", released)
}

fn say(context: &Context, did: &str, namespace: Namespace) -> Result<(), Failure> {
    match context.format() {
        Format::Table => line(&format!("{did} {}", namespace.name)),
        _ => context.print(&NamespaceView::from(namespace)),
    }
}
