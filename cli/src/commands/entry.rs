//! `chancery entry`: registrations of workloads. What may be registered is for nodes to say.

use chancery_client::proto::ca::v1::{
    CreateEntryRequest, DeleteEntryRequest, Entry, GetEntryRequest, ListEntriesRequest, UpdateEntryRequest,
};
use clap::{Args, Subcommand};
use types::{EntryName, Millis, Reason};

use super::pages::{PAGE_SIZE, all};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, line};
use crate::values::{duration, short, to_wire_duration};
use crate::views::{EntryView, List};

/// The verbs of `entry`.
#[derive(Subcommand, Debug)]
pub(crate) enum EntryCommand {
    /// Register a workload
    Create(CreateArgs),
    /// List the entries of the namespace
    List,
    /// Describe an entry
    Describe(Named),
    /// Change an entry; what is not named stays
    Update(UpdateArgs),
    /// Remove an entry: its workloads get no further certificates
    Delete(Named),
}

/// Arguments of `entry create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Path of the SPIFFE ID, /ns/NAMESPACE/…; or a name, for /ns/NAMESPACE/NAME
    path: String,
    /// Agent that delivers, for example agents/dev
    #[arg(long, value_name = "AGENT")]
    parent: String,
    #[command(flatten)]
    says: Says,
    /// Name of the entry; the last part of the path when left out
    #[arg(long, value_name = "NAME")]
    name: Option<EntryName>,
}

/// What an entry says.
#[derive(Args, Debug)]
pub(crate) struct Says {
    /// What a process must have, all of them: unix:uid:N, unix:gid:N, unix:path:/P, unix:sha256:HEX; may be repeated
    #[arg(long = "selector", value_name = "SELECTOR")]
    selectors: Vec<String>,
    /// Life of each certificate, for example 1h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Millis>,
    /// DNS name in the certificate; may be repeated
    #[arg(long = "dns-name", value_name = "NAME")]
    dns_names: Vec<String>,
    /// Tells a workload its identities apart
    #[arg(long, value_name = "TEXT")]
    hint: Option<String>,
}

/// Arguments of `entry update`.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// Short name, or namespaces/NAMESPACE/entries/NAME
    entry: String,
    /// Agent that delivers from now on
    #[arg(long, value_name = "AGENT")]
    parent: Option<String>,
    #[command(flatten)]
    says: Says,
}

/// An entry by name.
#[derive(Args, Debug)]
pub(crate) struct Named {
    /// Short name, or namespaces/NAMESPACE/entries/NAME
    entry: String,
}

/// Runs a verb.
pub(crate) async fn run(command: EntryCommand, context: &Context) -> Result<(), Failure> {
    let done = match command {
        EntryCommand::Create(args) => create(args, context).await,
        EntryCommand::List => list(context).await,
        EntryCommand::Describe(args) => describe(&args.entry, context).await,
        EntryCommand::Update(args) => update(args, context).await,
        EntryCommand::Delete(args) => delete(&args.entry, context).await,
    };
    done.map_err(|failure| {
        let place = format!("a path under /ns/{}/", context.namespace());
        let suffix = format!("an admin: chancery namespace update {} --dns-suffix SUFFIX", context.namespace());
        failure.hint_for(Reason::NotFound, "chancery entry list").hint_for(Reason::OutsideNamespace, place).hint_about(
            Reason::OutsideNamespace,
            "DNS name",
            suffix,
        )
    })
}

async fn create(args: CreateArgs, context: &Context) -> Result<(), Failure> {
    let path =
        if args.path.starts_with('/') { args.path } else { format!("/ns/{}/{}", context.namespace(), args.path) };
    let entry_id = match args.name {
        Some(name) => name,
        None => EntryName::parse(short(&path))
            .map_err(|error| Failure::new(Exit::Invalid, error.to_string()).hint("--name NAME"))?,
    };
    let entry = Entry {
        path,
        parent_agent: Context::agent(&args.parent)?,
        selectors: args.says.selectors,
        svid_ttl: args.says.ttl.map(to_wire_duration),
        dns_names: args.says.dns_names,
        hint: args.says.hint.unwrap_or_default(),
        ..Entry::default()
    };
    let request = CreateEntryRequest {
        parent: context.parent(),
        entry_id: entry_id.to_string(),
        entry: Some(entry),
        ..CreateEntryRequest::default()
    };
    let made = context.client().await?.entries().create(request).await?;
    say(context, "created", made)
}

async fn list(context: &Context) -> Result<(), Failure> {
    let entries = context.client().await?.entries();
    let fetch = async |page_token| {
        let request = ListEntriesRequest { parent: context.parent(), page_size: PAGE_SIZE, page_token };
        entries.list(request).await.map(|page| (page.entries, page.next_page_token))
    };
    context.print(&List(all(fetch).await?.into_iter().map(EntryView::from).collect()))
}

async fn describe(entry: &str, context: &Context) -> Result<(), Failure> {
    let request = GetEntryRequest { name: context.entry(entry)? };
    context.print(&EntryView::from(context.client().await?.entries().get(request).await?))
}

async fn update(args: UpdateArgs, context: &Context) -> Result<(), Failure> {
    let (name, entries) = (context.entry(&args.entry)?, context.client().await?.entries());
    let seen = entries.get(GetEntryRequest { name }).await?;
    let or = |new: Vec<String>, old: &[String]| if new.is_empty() { old.to_vec() } else { new };
    let entry = Entry {
        parent_agent: args.parent.as_deref().map_or(Ok(seen.parent_agent.clone()), Context::agent)?,
        selectors: or(args.says.selectors, &seen.selectors),
        svid_ttl: args.says.ttl.map(to_wire_duration).or(seen.svid_ttl),
        dns_names: or(args.says.dns_names, &seen.dns_names),
        hint: args.says.hint.unwrap_or_else(|| seen.hint.clone()),
        ..seen
    };
    let request = UpdateEntryRequest { entry: Some(entry), ..UpdateEntryRequest::default() };
    let changed = entries.update(request).await?;
    say(context, "updated", changed)
}

async fn delete(entry: &str, context: &Context) -> Result<(), Failure> {
    let (name, entries) = (context.entry(entry)?, context.client().await?.entries());
    let seen = entries.get(GetEntryRequest { name: name.clone() }).await?;
    let request = DeleteEntryRequest { name, etag: seen.etag.clone(), ..DeleteEntryRequest::default() };
    entries.delete(request).await?;
    say(context, "deleted", seen)
}

fn say(context: &Context, did: &str, entry: Entry) -> Result<(), Failure> {
    match context.format() {
        Format::Table => line(&format!("{did} entries/{} → {}", short(&entry.name), entry.spiffe_id)),
        _ => context.print(&EntryView::from(entry)),
    }
}
