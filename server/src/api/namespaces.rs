//! `NamespaceService`: tenants.

use audit::Detail;
use proto::cluster::v1 as wire;
use proto::cluster::v1::namespace_service_server::NamespaceService;
use state::{Command, Reply, State};
use tonic::{Request, Response, Status};
use types::{Action, KeyId, NamespaceName, Refusal};

use super::Api;
use super::macros::request_fields;
use crate::core::StateView;
use crate::request::authn::Caller;
use crate::request::mutation::{self, Mutation};
use crate::request::query::{self, Query};
use crate::request::target::Target;
use crate::wire::time::millis;
use crate::wire::{cluster, kms, name, page};

#[tonic::async_trait]
impl NamespaceService for Api {
    async fn create_namespace(
        &self,
        request: Request<wire::CreateNamespaceRequest>,
    ) -> Result<Response<wire::Namespace>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn update_namespace(
        &self,
        request: Request<wire::UpdateNamespaceRequest>,
    ) -> Result<Response<wire::Namespace>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn get_namespace(
        &self,
        request: Request<wire::GetNamespaceRequest>,
    ) -> Result<Response<wire::Namespace>, Status> {
        query::serve(&self.node, request).await
    }

    async fn list_namespaces(
        &self,
        request: Request<wire::ListNamespacesRequest>,
    ) -> Result<Response<wire::ListNamespacesResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn release_namespace(
        &self,
        request: Request<wire::ReleaseNamespaceRequest>,
    ) -> Result<Response<wire::Namespace>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn destroy_namespace(
        &self,
        request: Request<wire::DestroyNamespaceRequest>,
    ) -> Result<Response<wire::Namespace>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn restore_namespace(
        &self,
        request: Request<wire::RestoreNamespaceRequest>,
    ) -> Result<Response<wire::Namespace>, Status> {
        mutation::serve(&self.node, request).await
    }
}

/// The namespace that is to be changed, as whoever changes it has seen it.
fn seen(state: &State, full_name: &str, etag: &str) -> Result<NamespaceName, Refusal> {
    let name = name::namespace(full_name)?;
    let row = state.namespace(&name).ok_or_else(|| Refusal::not_found("namespace", &name))?;
    cluster::check_etag(state, etag, row.revision)?;
    Ok(name)
}

fn answer(state: &State, ns: &NamespaceName) -> Result<wire::Namespace, Refusal> {
    let row = state.namespace(ns).ok_or_else(|| Refusal::not_found("namespace", ns))?;
    Ok(cluster::namespace(state, ns, row))
}

/// A namespace with the receipt of its end.
fn answer_with_receipt(state: &State, ns: &NamespaceName) -> Result<wire::Namespace, Refusal> {
    let receipt = state.receipt_of_namespace(ns).map(|receipt| kms::receipt(&receipt));
    Ok(wire::Namespace { receipt, ..answer(state, ns)? })
}

impl Mutation for wire::CreateNamespaceRequest {
    const ACTION: Action = Action::CreateNamespace;
    type Answer = wire::Namespace;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        NamespaceName::parse(&self.namespace_id).map(Target::Namespace).map_err(name::refused)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let name = NamespaceName::parse(&self.namespace_id).map_err(name::refused)?;
        let settings = cluster::namespace_settings(self.namespace.as_ref().unwrap_or(&wire::Namespace::default()))?;
        let kek_wrapped = desk.keyring.draw_namespace_key(desk.state.root_epoch(), &name)?;
        Ok(Command::CreateNamespace { name, id: KeyId(crypto::entropy::array()), settings, kek_wrapped })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Namespace, Refusal> {
        answer(desk.state, &NamespaceName::parse(&self.namespace_id).map_err(name::refused)?)
    }
}

/// What an update names; it has to name something.
fn updated(request: &wire::UpdateNamespaceRequest) -> Result<(NamespaceName, &wire::Namespace), Refusal> {
    let missing = || Refusal::new(types::Reason::InvalidArgument, "`namespace` is missing");
    let namespace = request.namespace.as_ref().ok_or_else(missing)?;
    Ok((name::namespace(&namespace.name)?, namespace))
}

impl Mutation for wire::UpdateNamespaceRequest {
    const ACTION: Action = Action::UpdateNamespace;
    type Answer = wire::Namespace;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        updated(self).map(|(ns, _)| Target::Namespace(ns))
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let (name, namespace) = updated(self)?;
        let row = desk.state.namespace(&name).ok_or_else(|| Refusal::not_found("namespace", &name))?;
        cluster::check_etag(desk.state, &namespace.etag, row.revision)?;
        Ok(Command::UpdateNamespace { name, settings: cluster::namespace_settings(namespace)? })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Namespace, Refusal> {
        answer(desk.state, &updated(self)?.0)
    }
}

impl Mutation for wire::ReleaseNamespaceRequest {
    const ACTION: Action = Action::ReleaseNamespace;
    type Answer = wire::Namespace;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        name::namespace(&self.name).map(Target::Namespace)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let name = seen(desk.state, &self.name, &self.etag)?;
        Ok(Command::ReleaseNamespace { name })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Namespace, Refusal> {
        answer(desk.state, &name::namespace(&self.name)?)
    }
}

impl Mutation for wire::DestroyNamespaceRequest {
    const ACTION: Action = Action::DestroyNamespace;
    type Answer = wire::Namespace;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        name::namespace(&self.name).map(Target::Namespace)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let name = seen(desk.state, &self.name, &self.etag)?;
        let waiting_period = self.waiting_period.as_ref().map(|period| millis("waiting_period", period)).transpose()?;
        Ok(Command::DestroyNamespace { name, waiting_period, urgent: self.erase_now })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Namespace, Refusal> {
        answer_with_receipt(desk.state, &name::namespace(&self.name)?)
    }
}

impl Mutation for wire::RestoreNamespaceRequest {
    const ACTION: Action = Action::RestoreNamespace;
    type Answer = wire::Namespace;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        name::namespace(&self.name).map(Target::Namespace)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let name = seen(desk.state, &self.name, &self.etag)?;
        Ok(Command::RestoreNamespace { name })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Namespace, Refusal> {
        answer(desk.state, &name::namespace(&self.name)?)
    }
}

impl Query for wire::GetNamespaceRequest {
    const ACTION: Action = Action::GetNamespace;
    type Answer = wire::Namespace;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        name::namespace(&self.name).map(Target::Namespace)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::Namespace, Detail), Refusal> {
        Ok((answer_with_receipt(&desk.state, &name::namespace(&self.name)?)?, Detail::new()))
    }
}

impl Query for wire::ListNamespacesRequest {
    const ACTION: Action = Action::ListNamespaces;
    type Answer = wire::ListNamespacesResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ListNamespacesResponse, Detail), Refusal> {
        let after = page::after(&self.page_token, |text| NamespaceName::parse(text).ok())?;
        let size = page::size(self.page_size)?;
        let mut rows = desk.state.namespaces().skip_while(|(ns, _)| after.as_ref().is_some_and(|after| *ns <= after));
        let taken: Vec<_> = rows.by_ref().take(size).collect();
        let next_page_token = page::token(rows.next().and(taken.last()).map(|(ns, _)| *ns));
        let namespaces: Vec<_> = taken.into_iter().map(|(ns, row)| cluster::namespace(&desk.state, ns, row)).collect();
        let detail = Detail::new().count("items", namespaces.len() as u64);
        Ok((wire::ListNamespacesResponse { namespaces, next_page_token }, detail))
    }
}
