//! `chancery operator`.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_client::identity::{Folder, Profile};
use chancery_client::proto::cluster::v1::{
    Binding, EnrolOperatorRequest, GrantRoleRequest, ListBindingsRequest, ListOperatorsRequest, Operator,
    RevokeOperatorRequest, RevokeRoleRequest,
};
use chancery_client::tls::Identity;
use chancery_client::{Client, Config};
use clap::{Args, Subcommand};
use crypto::sign::P256Signer;
use serde::Serialize;
use types::{ClusterId, Millis, NamespaceName, OperatorName, Principal, Reason, Role, SpkiHash};

use super::init::KeyProtection;
use super::pages::{PAGE_SIZE, all};
use super::recover::{self, RecoverArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, Show, line, note};
use crate::values::{duration, in_cluster, now, to_wire_duration};
use crate::views::{BindingView, EnrolledView, List};

/// The verbs of `operator`.
#[derive(Subcommand, Debug)]
pub(crate) enum OperatorCommand {
    /// Make a key, or say to which cluster it belongs
    #[command(subcommand)]
    Key(KeyCommand),
    /// Enrol an operator's public key
    Enroll(EnrollArgs),
    /// Enrol a new admin when none is left, with what opens a node's seal
    ///
    /// On the machine of an unsealed node, with enough shares, the passphrase, or, for the seals `file` and `pkcs11`, nothing but
    /// being there. No operator that there is changes. Every node's log and the audit log say it.
    Recover(RecoverArgs),
    /// List the operators
    List,
    /// Revoke an operator: its key opens nothing from then on
    Revoke {
        /// Short name, or operators/NAME
        operator: String,
    },
    /// Grant a role
    Grant(RoleArgs),
    /// Take a role away
    Ungrant(RoleArgs),
    /// List who holds which role where
    Roles,
}

/// The verbs of `operator key`.
#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// Make a key in the identity folder and print its public half, to be enrolled
    New(KeyProtection),
    /// Say to which cluster the key in the identity folder has been enrolled
    Join(JoinArgs),
}

/// Arguments of `operator key join`; `operator enroll` prints them.
#[derive(Args, Debug)]
pub(crate) struct JoinArgs {
    /// The name under which the key was enrolled
    operator: String,
    /// Hexadecimal id of the cluster
    #[arg(long, value_name = "HEX", value_parser = cluster_id)]
    cluster: ClusterId,
    /// Hexadecimal hash of the cluster's key
    #[arg(long, value_name = "HEX", value_parser = key_hash)]
    cluster_key: SpkiHash,
}

/// Arguments of `operator enroll`.
#[derive(Args, Debug)]
pub(crate) struct EnrollArgs {
    /// Lowercase letters, digits and hyphens
    name: OperatorName,
    /// File with the public key that `operator key new` printed; stdin when left out
    #[arg(long, value_name = "FILE")]
    public_key_file: Option<PathBuf>,
    /// The enrolment ends after this time, at most 365d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Millis>,
    /// Grant this role in the whole cluster at once
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Option<Role>,
}

/// Arguments of `operator grant` and `operator ungrant`.
#[derive(Args, Debug)]
pub(crate) struct RoleArgs {
    /// operators/NAME, or the SPIFFE ID of a workload
    #[arg(value_parser = principal)]
    principal: Principal,
    /// admin, key-admin, key-user, key-encrypter, key-signer, key-verifier, entry-admin or auditor
    #[arg(value_parser = role)]
    role: Role,
    /// Only in this namespace; in the whole cluster when left out
    #[arg(long = "in", value_name = "NAMESPACE")]
    scope: Option<NamespaceName>,
}

#[derive(Serialize)]
struct PublicKey {
    /// Base64 of the DER SubjectPublicKeyInfo.
    public_key: String,
    spki_sha256: String,
    identity: PathBuf,
}

impl Show for PublicKey {
    fn text(&self) -> String {
        self.public_key.clone()
    }
}

/// Runs a verb.
pub(crate) async fn run(command: OperatorCommand, context: &Context) -> Result<(), Failure> {
    let done = match command {
        OperatorCommand::Key(KeyCommand::New(protection)) => key_new(&protection, context),
        OperatorCommand::Key(KeyCommand::Join(args)) => key_join(args, context).await,
        OperatorCommand::Enroll(args) => enroll(args, context).await,
        OperatorCommand::Recover(args) => return recover::run(args, context).await,
        OperatorCommand::List => list(context).await,
        OperatorCommand::Revoke { operator } => revoke(&operator, context).await,
        OperatorCommand::Grant(args) => grant(args, context).await,
        OperatorCommand::Ungrant(args) => ungrant(args, context).await,
        OperatorCommand::Roles => roles(context).await,
    };
    done.map_err(|failure| failure.hint_for(Reason::NotFound, "chancery operator list"))
}

fn key_new(protection: &KeyProtection, context: &Context) -> Result<(), Failure> {
    let folder = Folder::create(context.identity_folder()?)?;
    let signer = protection.key_in(&folder, context)?;
    let spki = signer.spki_der();
    let public_key = STANDARD.encode(&spki);
    if context.format() == Format::Table {
        note(&format!("key in {}; its public half, for `chancery operator enroll`:", folder.path().display()));
    }
    let spki_sha256 = SpkiHash(crypto::hash::sha256(&spki)).to_hex();
    context.print(&PublicKey { public_key, spki_sha256, identity: folder.path().to_owned() })
}

async fn key_join(args: JoinArgs, context: &Context) -> Result<(), Failure> {
    let folder = Folder::open(context.identity_folder()?)?;
    if !folder.has_key() {
        let message = format!("there is no key in `{}`", folder.path().display());
        return Err(Failure::new(Exit::Usage, message).hint("chancery operator key new"));
    }
    if context.addresses().is_empty() {
        return Err(Failure::new(Exit::Usage, "no address of the cluster is known").hint("--addr HOST:PORT"));
    }
    let name = operator_name(&args.operator)?;
    let endpoints = context.addresses().to_vec();
    let (cluster_id, cluster_key_hash) = (args.cluster, args.cluster_key);
    folder.write_profile(&Profile {
        name: name.clone(),
        cluster_id,
        cluster_key_hash,
        endpoints: endpoints.clone(),
    })?;
    line(&format!("{} is {name} of cluster {cluster_id}", folder.path().display()))?;
    // A sealed cluster can tell nobody who its nodes are, so whoever is to unseal it asks in time. Anybody may, with any key.
    let identity = Identity::self_signed(&P256Signer::generate(), &name, now())
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let (trust_cache, deadline) = (Some(folder.trust_cache()), context.timeout());
    let config = Config { endpoints, identity, cluster_key_hash, trust_cache, deadline };
    match Client::connect(config).await {
        // A document of before does as well, only it may not know the newest nodes.
        Ok(client) => drop(client.refresh_trust().await),
        Err(error) => note(&format!(
            "the nodes of the cluster are not known yet ({error}): the first command while it is open asks for them, and before that \
             nothing can be unsealed with this identity"
        )),
    }
    Ok(())
}

async fn enroll(args: EnrollArgs, context: &Context) -> Result<(), Failure> {
    let spki = public_key(args.public_key_file.as_ref())?;
    let client = context.client().await?;
    let request = EnrolOperatorRequest {
        operator_id: args.name.to_string(),
        spki,
        ttl: args.ttl.map(to_wire_duration),
        ..EnrolOperatorRequest::default()
    };
    let operator = client.operators().enrol(request).await?;
    if let Some(role) = args.role {
        let binding = binding(operator.name.clone(), role, None);
        let request = GrantRoleRequest { binding: Some(binding), ..GrantRoleRequest::default() };
        match client.operators().grant_role(request).await {
            // Enrolled again: what it may do it kept.
            Err(error) if error.reason() == Some(Reason::AlreadyExists) => {}
            granted => drop(granted?),
        }
    }
    if context.format() != Format::Table {
        return context.print(&EnrolledView::from(operator));
    }
    let trust = client.trust();
    let addresses: Vec<String> = client.addresses().map(ToString::to_string).collect();
    let (view, statement) = (EnrolledView::from(operator), trust.statement());
    line(&format!("enrolled {} until {}", view.name, view.until()))?;
    note(&format!(
        "on the operator's machine: chancery operator key join {} --cluster {} --cluster-key {} --addr {}",
        view.name,
        statement.cluster_id,
        SpkiHash(crypto::hash::sha256(&trust.wire().cluster_spki)),
        addresses.join(",")
    ));
    Ok(())
}

async fn list(context: &Context) -> Result<(), Failure> {
    let operators = context.client().await?.operators();
    let fetch = async |page_token| {
        let request = ListOperatorsRequest { page_size: PAGE_SIZE, page_token };
        operators.list(request).await.map(|page| (page.operators, page.next_page_token))
    };
    context.print(&List(all(fetch).await?.into_iter().map(EnrolledView::from).collect()))
}

async fn revoke(operator: &str, context: &Context) -> Result<(), Failure> {
    let request = RevokeOperatorRequest { name: operator_name(operator)?, ..RevokeOperatorRequest::default() };
    let revoked: Operator = context.client().await?.operators().revoke(request).await?;
    match context.format() {
        Format::Table => line(&format!("revoked {}", revoked.name)),
        _ => context.print(&EnrolledView::from(revoked)),
    }
}

async fn grant(args: RoleArgs, context: &Context) -> Result<(), Failure> {
    let binding = binding(args.principal.to_string(), args.role, args.scope);
    let request = GrantRoleRequest { binding: Some(binding), ..GrantRoleRequest::default() };
    let granted = context.client().await?.operators().grant_role(request).await?;
    say(context, "granted", "to", granted)
}

async fn ungrant(args: RoleArgs, context: &Context) -> Result<(), Failure> {
    let binding = binding(args.principal.to_string(), args.role, args.scope);
    let request = RevokeRoleRequest { binding: Some(binding.clone()), ..RevokeRoleRequest::default() };
    context.client().await?.operators().revoke_role(request).await?;
    say(context, "took", "from", binding)
}

async fn roles(context: &Context) -> Result<(), Failure> {
    let operators = context.client().await?.operators();
    let fetch = async |page_token| {
        let request = ListBindingsRequest { page_size: PAGE_SIZE, page_token };
        operators.list_bindings(request).await.map(|page| (page.bindings, page.next_page_token))
    };
    context.print(&List(all(fetch).await?.into_iter().map(BindingView::from).collect()))
}

fn say(context: &Context, did: &str, preposition: &str, binding: Binding) -> Result<(), Failure> {
    match context.format() {
        Format::Table => {
            line(&format!("{did} {} in {} {preposition} {}", binding.role, binding.scope, binding.principal))
        }
        _ => context.print(&BindingView::from(binding)),
    }
}

fn binding(principal: String, role: Role, scope: Option<NamespaceName>) -> Binding {
    let scope = scope.map_or_else(|| "cluster".to_owned(), |ns| format!("namespaces/{ns}"));
    Binding { principal, role: role.to_string(), scope }
}

fn public_key(file: Option<&PathBuf>) -> Result<Vec<u8>, Failure> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Failure::new(Exit::Failed, format!("`{}` could not be read: {error}", path.display())))?,
        None => std::io::read_to_string(std::io::stdin())
            .map_err(|error| Failure::new(Exit::Failed, format!("stdin could not be read: {error}")))?,
    };
    let der = STANDARD.decode(text.trim()).ok().filter(|der| crypto::sign::point_of_spki(der).is_some());
    der.ok_or_else(|| {
        Failure::new(Exit::Invalid, "this is not the public key of an operator").hint("chancery operator key new")
    })
}

fn operator_name(text: &str) -> Result<String, Failure> {
    in_cluster(text, "operators", OperatorName::parse).map_err(|why| Failure::new(Exit::Invalid, why))
}

fn principal(text: &str) -> Result<Principal, String> {
    let bindable = |found: &Principal| matches!(found, Principal::Operator(_) | Principal::Workload(_));
    Principal::parse(text)
        .filter(bindable)
        .ok_or_else(|| format!("`{text}` holds no role: use operators/NAME or the SPIFFE ID of a workload"))
}

fn role(text: &str) -> Result<Role, String> {
    let all: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
    Role::parse(text).ok_or_else(|| format!("`{text}` is no role: use one of {}", all.join(", ")))
}

fn cluster_id(text: &str) -> Result<ClusterId, String> {
    ClusterId::from_hex(text).ok_or_else(|| "a cluster id is 32 lowercase hexadecimal digits".to_owned())
}

fn key_hash(text: &str) -> Result<SpkiHash, String> {
    SpkiHash::from_hex(text).ok_or_else(|| "a key hash is 64 lowercase hexadecimal digits".to_owned())
}
