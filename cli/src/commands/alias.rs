//! `chancery alias`: other names of keys, each of which can be given to another key.

use chancery_client::proto::kms::v1::{
    Alias, CreateAliasRequest, DeleteAliasRequest, GetAliasRequest, ListAliasesRequest, UpdateAliasRequest,
};
use clap::{Args, Subcommand};
use prost_types::Timestamp;
use serde::Serialize;
use types::{AliasName, Reason};

use super::pages::{PAGE_SIZE, all};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, Show, Table, line};
use crate::values::{called, short};
use crate::views::{List, Row, at, fields, rfc3339};

/// The verbs of `alias`.
#[derive(Subcommand, Debug)]
pub(crate) enum AliasCommand {
    /// Give a key another name: alias/NAME then stands for it wherever a key is used
    Create(CreateArgs),
    /// Give an alias to another key, atomically: when this has ended no node uses the key before it under that name
    ///
    /// What was encrypted before still decrypts, since a ciphertext names its key itself. A signature or MAC does not: whoever verifies
    /// it has to name the key and the version that `sign` told, not the alias.
    Move(MoveArgs),
    /// List the aliases of the namespace
    List,
    /// Say which key an alias stands for
    Describe(Named),
    /// Take an alias away; the key stays
    Delete(Named),
}

/// Arguments of `alias create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Lowercase letters, digits and hyphens
    name: AliasName,
    /// The key that it stands for, of the same namespace
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Check everything, change nothing
    #[arg(long)]
    validate_only: bool,
}

/// Arguments of `alias move`.
#[derive(Args, Debug)]
pub(crate) struct MoveArgs {
    /// Short name, or namespaces/NAMESPACE/aliases/NAME
    name: String,
    /// The key that it stands for from now on, of the same namespace
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Check everything, change nothing
    #[arg(long)]
    validate_only: bool,
}

/// An alias by name.
#[derive(Args, Debug)]
pub(crate) struct Named {
    /// Short name, or namespaces/NAMESPACE/aliases/NAME
    name: String,
}

/// `Alias`.
#[derive(Serialize, Debug)]
struct AliasView {
    name: String,
    key: String,
    create_time: Option<String>,
    etag: String,
    #[serde(skip)]
    created: Option<Timestamp>,
}

impl From<Alias> for AliasView {
    fn from(wire: Alias) -> Self {
        let Alias { name, key, create_time, etag } = wire;
        Self { name, key, create_time: rfc3339(create_time.as_ref()), etag, created: create_time }
    }
}

impl Row for AliasView {
    fn table() -> Table {
        Table::new(["ALIAS", "KEY", "CREATED"])
    }

    fn add(&self, table: &mut Table) {
        table.row([called(&self.name), short(&self.key).to_owned(), at(self.created.as_ref())]);
    }
}

impl Show for AliasView {
    fn text(&self) -> String {
        fields(&[
            ("name", self.name.clone()),
            ("key", self.key.clone()),
            ("created", at(self.created.as_ref())),
            ("etag", self.etag.clone()),
        ])
    }
}

/// Runs a verb.
pub(crate) async fn run(command: AliasCommand, context: &Context) -> Result<(), Failure> {
    let done = match command {
        AliasCommand::Create(args) => create(args, context).await,
        AliasCommand::Move(args) => give(args, context).await,
        AliasCommand::List => list(context).await,
        AliasCommand::Describe(args) => describe(&args.name, context).await,
        AliasCommand::Delete(args) => delete(&args.name, context).await,
    };
    done.map_err(|failure| {
        failure
            .hint_for(Reason::NotFound, "chancery alias list")
            .hint_about(Reason::NotFound, "key `", "chancery key list")
            .hint_for(Reason::AlreadyExists, "chancery alias move")
    })
}

async fn create(args: CreateArgs, context: &Context) -> Result<(), Failure> {
    let request = CreateAliasRequest {
        parent: context.parent(),
        alias_id: args.name.to_string(),
        key: context.key(&args.key)?,
        validate_only: args.validate_only,
        ..CreateAliasRequest::default()
    };
    let made = context.client().await?.keys().create_alias(request).await?;
    say(context, if args.validate_only { "would create" } else { "created" }, made)
}

async fn give(args: MoveArgs, context: &Context) -> Result<(), Failure> {
    let request = UpdateAliasRequest {
        name: context.alias(&args.name)?,
        key: context.key(&args.key)?,
        validate_only: args.validate_only,
        ..UpdateAliasRequest::default()
    };
    let moved = context.client().await?.keys().update_alias(request).await?;
    say(context, if args.validate_only { "would move" } else { "moved" }, moved)
}

async fn list(context: &Context) -> Result<(), Failure> {
    let keys = context.client().await?.keys();
    let fetch = async |page_token| {
        let request = ListAliasesRequest { parent: context.parent(), page_size: PAGE_SIZE, page_token };
        keys.list_aliases(request).await.map(|page| (page.aliases, page.next_page_token))
    };
    context.print(&List(all(fetch).await?.into_iter().map(AliasView::from).collect()))
}

async fn describe(name: &str, context: &Context) -> Result<(), Failure> {
    let request = GetAliasRequest { name: context.alias(name)? };
    context.print(&AliasView::from(context.client().await?.keys().get_alias(request).await?))
}

async fn delete(name: &str, context: &Context) -> Result<(), Failure> {
    let (name, keys) = (context.alias(name)?, context.client().await?.keys());
    let seen = keys.get_alias(GetAliasRequest { name: name.clone() }).await?;
    // What is taken away is what was seen.
    let request = DeleteAliasRequest { name, etag: seen.etag.clone(), ..DeleteAliasRequest::default() };
    keys.delete_alias(request).await?;
    say(context, "deleted", seen)
}

fn say(context: &Context, did: &str, alias: Alias) -> Result<(), Failure> {
    match context.format() {
        Format::Table => line(&format!("{did} {} → {}", called(&alias.name), short(&alias.key))),
        _ => context.print(&AliasView::from(alias)),
    }
}
