//! `chancery agents`: lists the agents of a cluster and bans them. Admitting one is `cluster token`'s affair.

use chancery_client::proto::ca::v1::{ListAgentsRequest, RevokeAgentRequest};
use clap::Subcommand;
use types::Reason;

use super::pages::{PAGE_SIZE, all};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, line};
use crate::views::{EnrolledView, List};

/// The verbs of `agents`.
#[derive(Subcommand, Debug)]
pub(crate) enum AgentsCommand {
    /// List the agents
    List,
    /// Ban an agent for ever: it gets nothing from then on
    Revoke {
        /// Short name, or agents/NAME
        agent: String,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: AgentsCommand, context: &Context) -> Result<(), Failure> {
    let agents = context.client().await?.agents();
    match command {
        AgentsCommand::List => {
            let fetch = async |page_token| {
                let request = ListAgentsRequest { page_size: PAGE_SIZE, page_token };
                agents.list(request).await.map(|page| (page.agents, page.next_page_token))
            };
            context.print(&List(all(fetch).await?.into_iter().map(EnrolledView::from).collect()))
        }
        AgentsCommand::Revoke { agent } => {
            let request = RevokeAgentRequest { name: Context::agent(&agent)?, ..RevokeAgentRequest::default() };
            let revoked = agents.revoke(request).await;
            let revoked =
                revoked.map_err(|error| Failure::from(error).hint_for(Reason::NotFound, "chancery agents list"))?;
            match context.format() {
                Format::Table => line(&format!("revoked {}", revoked.name)),
                _ => context.print(&EnrolledView::from(revoked)),
            }
        }
    }
}
