//! `chancery ca` and `chancery bundle`.

use chancery_client::proto::ca::v1::{Authority, AuthorityState, Bundle, GetBundleRequest, ListAuthoritiesRequest};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Table, line};
use crate::views::{List, Row, at, rfc3339};

/// The verbs of `ca`.
#[derive(Subcommand, Debug)]
pub(crate) enum CaCommand {
    /// The authorities of the voters and where each stands
    Status,
}

/// The verbs of `bundle`.
#[derive(Subcommand, Debug)]
pub(crate) enum BundleCommand {
    /// Print the trust bundle
    Show {
        /// pem: the certificates of the authorities; spiffe: the bundle document
        #[arg(long, value_name = "FORMAT", default_value = "pem")]
        format: BundleFormat,
    },
}

/// Forms of a bundle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum BundleFormat {
    /// Certificates, PEM
    Pem,
    /// The SPIFFE bundle document, JSON
    Spiffe,
}

#[derive(Serialize)]
struct AuthorityView {
    node: String,
    id: String,
    state: &'static str,
    generate_time: Option<String>,
    state_time: Option<String>,
    expire_time: Option<String>,
    #[serde(skip)]
    wire: Authority,
}

impl From<Authority> for AuthorityView {
    fn from(wire: Authority) -> Self {
        let state = match wire.state() {
            AuthorityState::Generated => "GENERATED",
            AuthorityState::Published => "PUBLISHED",
            AuthorityState::Active => "ACTIVE",
            AuthorityState::Draining => "DRAINING",
            AuthorityState::Retired => "RETIRED",
            AuthorityState::Tainted => "TAINTED",
            AuthorityState::Unspecified => "UNSPECIFIED",
        };
        Self {
            node: wire.node.clone(),
            id: wire.id.clone(),
            state,
            generate_time: rfc3339(wire.generate_time.as_ref()),
            state_time: rfc3339(wire.state_time.as_ref()),
            expire_time: rfc3339(wire.expire_time.as_ref()),
            wire,
        }
    }
}

impl Row for AuthorityView {
    fn table() -> Table {
        Table::new(["NODE", "STATE", "SINCE", "EXPIRES", "ID"])
    }

    fn add(&self, table: &mut Table) {
        table.row([
            self.node.clone(),
            self.state.to_ascii_lowercase(),
            at(self.wire.state_time.as_ref()),
            at(self.wire.expire_time.as_ref()),
            self.id.clone(),
        ]);
    }
}

/// Runs a verb of `ca`.
pub(crate) async fn run(command: CaCommand, context: &Context) -> Result<(), Failure> {
    match command {
        CaCommand::Status => {
            let answer = context.client().await?.authorities().list(ListAuthoritiesRequest {}).await?;
            context.print(&List(answer.authorities.into_iter().map(AuthorityView::from).collect()))
        }
    }
}

/// Runs a verb of `bundle`.
pub(crate) async fn run_bundle(command: BundleCommand, context: &Context) -> Result<(), Failure> {
    let BundleCommand::Show { format } = command;
    let bundle = context.client().await?.bundles().get(GetBundleRequest {}).await?;
    line(&render(&bundle, format))
}

fn render(bundle: &Bundle, format: BundleFormat) -> String {
    match format {
        BundleFormat::Spiffe => bundle.document.clone(),
        BundleFormat::Pem => {
            let pem = |der: &Vec<u8>| pem::encode(&pem::Pem::new("CERTIFICATE", der.as_slice()));
            bundle.x509_authorities.iter().map(pem).collect::<String>().trim_end().to_owned()
        }
    }
}
