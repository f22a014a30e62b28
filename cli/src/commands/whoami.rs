//! `chancery whoami`: who the cluster takes the caller for, and which roles that has.

use chancery_client::proto::cluster::v1::WhoAmIRequest;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::Show;
use crate::values::{day, from_wire_time};
use crate::views::{BindingView, rfc3339};

#[derive(Serialize)]
struct WhoAmI {
    principal: String,
    bindings: Vec<BindingView>,
    expire_time: Option<String>,
    #[serde(skip)]
    until: String,
}

impl Show for WhoAmI {
    fn text(&self) -> String {
        let roles: Vec<String> = self.bindings.iter().map(role).collect();
        let roles = if roles.is_empty() { "none".to_owned() } else { roles.join(", ") };
        let until = if self.until.is_empty() { String::new() } else { format!("   enrolled until {}", self.until) };
        format!("{}   role {roles}{until}", self.principal)
    }
}

/// Says who is calling.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let answer = context.client().await?.cluster().who_am_i(WhoAmIRequest {}).await?;
    context.print(&WhoAmI {
        principal: answer.principal,
        bindings: answer.bindings.into_iter().map(BindingView::from).collect(),
        expire_time: rfc3339(answer.expire_time.as_ref()),
        until: answer.expire_time.as_ref().map(|time| day(from_wire_time(time))).unwrap_or_default(),
    })
}

fn role(binding: &BindingView) -> String {
    match binding.scope.as_str() {
        "cluster" => binding.role.clone(),
        scope => format!("{} in {scope}", binding.role),
    }
}
