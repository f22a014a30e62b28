//! `OperatorService`: who administers, and the roles that principals hold.

use audit::Detail;
use proto::cluster::v1 as wire;
use proto::cluster::v1::operator_service_server::OperatorService;
use state::{Command, Reply, State};
use tonic::{Request, Response, Status};
use types::{Action, Binding, OperatorName, Principal, Reason, Refusal, Scope};

use super::Api;
use super::macros::request_fields;
use crate::clock;
use crate::core::StateView;
use crate::request::authn::Caller;
use crate::request::mutation::{self, Mutation};
use crate::request::query::{self, Query};
use crate::request::target::Target;
use crate::wire::{cluster, name, page};

#[tonic::async_trait]
impl OperatorService for Api {
    async fn enrol_operator(
        &self,
        request: Request<wire::EnrolOperatorRequest>,
    ) -> Result<Response<wire::Operator>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn revoke_operator(
        &self,
        request: Request<wire::RevokeOperatorRequest>,
    ) -> Result<Response<wire::Operator>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn list_operators(
        &self,
        request: Request<wire::ListOperatorsRequest>,
    ) -> Result<Response<wire::ListOperatorsResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn grant_role(&self, request: Request<wire::GrantRoleRequest>) -> Result<Response<wire::Binding>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn revoke_role(
        &self,
        request: Request<wire::RevokeRoleRequest>,
    ) -> Result<Response<wire::RevokeRoleResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn list_bindings(
        &self,
        request: Request<wire::ListBindingsRequest>,
    ) -> Result<Response<wire::ListBindingsResponse>, Status> {
        query::serve(&self.node, request).await
    }
}

fn answer(state: &State, name: &OperatorName) -> Result<wire::Operator, Refusal> {
    let row = state.operator(name).ok_or_else(|| Refusal::not_found("operator", name))?;
    Ok(cluster::operator(state, name, row))
}

fn operator_name(text: &str) -> Result<OperatorName, Refusal> {
    OperatorName::parse(text).map_err(name::refused)
}

/// Where a binding lies: the namespace it grants in, or the cluster.
fn binding_target(binding: &Binding) -> Target {
    match &binding.scope {
        Scope::Cluster => Target::Cluster,
        Scope::Namespace(ns) => Target::Namespace(ns.clone()),
    }
}

impl Mutation for wire::EnrolOperatorRequest {
    const ACTION: Action = Action::EnrolOperator;
    type Answer = wire::Operator;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        operator_name(&self.operator_id).map(Target::Operator)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        if crypto::sign::point_of_spki(&self.spki).is_none() {
            let text = "`spki` must be the DER SubjectPublicKeyInfo of an ECDSA P-256 key: see `chancery operator key`";
            return Err(Refusal::new(Reason::InvalidArgument, text));
        }
        let ttl = cluster::enrolment(self.ttl.as_ref())?;
        Ok(Command::EnrolOperator {
            name: operator_name(&self.operator_id)?,
            spki: ca::spki_hash(&self.spki),
            expires: desk.state.time().max(clock::now()).after(ttl),
        })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Operator, Refusal> {
        answer(desk.state, &operator_name(&self.operator_id)?)
    }
}

impl Mutation for wire::RevokeOperatorRequest {
    const ACTION: Action = Action::RevokeOperator;
    type Answer = wire::Operator;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        name::operator(&self.name).map(Target::Operator)
    }

    fn command(&self, _desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        Ok(Command::RevokeOperator { name: name::operator(&self.name)? })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Operator, Refusal> {
        answer(desk.state, &name::operator(&self.name)?)
    }
}

impl Mutation for wire::GrantRoleRequest {
    const ACTION: Action = Action::GrantRole;
    type Answer = wire::Binding;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        cluster::parse_binding(self.binding.as_ref()).map(|binding| binding_target(&binding))
    }

    fn command(&self, _desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        cluster::parse_binding(self.binding.as_ref()).map(Command::GrantRole)
    }

    fn answer(&self, _desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Binding, Refusal> {
        cluster::parse_binding(self.binding.as_ref()).map(|binding| cluster::binding(&binding))
    }
}

impl Mutation for wire::RevokeRoleRequest {
    const ACTION: Action = Action::RevokeRole;
    type Answer = wire::RevokeRoleResponse;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        cluster::parse_binding(self.binding.as_ref()).map(|binding| binding_target(&binding))
    }

    fn command(&self, _desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        cluster::parse_binding(self.binding.as_ref()).map(Command::RevokeRole)
    }

    fn answer(&self, _desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::RevokeRoleResponse, Refusal> {
        Ok(wire::RevokeRoleResponse {})
    }
}

impl Query for wire::ListOperatorsRequest {
    const ACTION: Action = Action::ListOperators;
    type Answer = wire::ListOperatorsResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ListOperatorsResponse, Detail), Refusal> {
        let after = page::after(&self.page_token, |text| OperatorName::parse(text).ok())?;
        let found = desk.state.operators(after.as_ref(), page::size(self.page_size)?);
        let operators: Vec<_> =
            found.items.into_iter().map(|(name, row)| cluster::operator(&desk.state, name, row)).collect();
        let detail = Detail::new().count("items", operators.len() as u64);
        Ok((wire::ListOperatorsResponse { operators, next_page_token: page::token(found.next) }, detail))
    }
}

/// A binding as a page token: its three texts, none of which holds a space.
fn binding_token(binding: &Binding) -> String {
    let Binding { principal, role, scope } = binding;
    format!("{principal} {role} {scope}")
}

fn parse_binding_token(text: &str) -> Option<Binding> {
    let mut parts = text.split(' ').map(str::to_owned);
    let wire = wire::Binding { principal: parts.next()?, role: parts.next()?, scope: parts.next()? };
    cluster::parse_binding(Some(&wire))
        .ok()
        .filter(|binding: &Binding| matches!(binding.principal, Principal::Operator(_) | Principal::Workload(_)))
}

impl Query for wire::ListBindingsRequest {
    const ACTION: Action = Action::ListBindings;
    type Answer = wire::ListBindingsResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ListBindingsResponse, Detail), Refusal> {
        let after = page::after(&self.page_token, parse_binding_token)?;
        let found = desk.state.bindings(after.as_ref(), page::size(self.page_size)?);
        let bindings: Vec<_> = found.items.into_iter().map(|(binding, _)| cluster::binding(binding)).collect();
        let next_page_token = page::token(found.next.as_ref().map(binding_token));
        let detail = Detail::new().count("items", bindings.len() as u64);
        Ok((wire::ListBindingsResponse { bindings, next_page_token }, detail))
    }
}
