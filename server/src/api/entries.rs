//! `EntryService`: which workloads there are.

use audit::Detail;
use proto::ca::v1 as wire;
use proto::ca::v1::entry_service_server::EntryService;
use state::{Command, Reply, State};
use tonic::{Request, Response, Status};
use types::{Action, EntryName, NamespaceName, Reason, Refusal};

use super::Api;
use super::macros::request_fields;
use crate::core::StateView;
use crate::request::authn::Caller;
use crate::request::mutation::{self, Mutation};
use crate::request::query::{self, Query};
use crate::request::target::Target;
use crate::wire::cluster::check_etag;
use crate::wire::{ca, name, page};

#[tonic::async_trait]
impl EntryService for Api {
    async fn create_entry(&self, request: Request<wire::CreateEntryRequest>) -> Result<Response<wire::Entry>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn update_entry(&self, request: Request<wire::UpdateEntryRequest>) -> Result<Response<wire::Entry>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn delete_entry(
        &self,
        request: Request<wire::DeleteEntryRequest>,
    ) -> Result<Response<wire::DeleteEntryResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn get_entry(&self, request: Request<wire::GetEntryRequest>) -> Result<Response<wire::Entry>, Status> {
        query::serve(&self.node, request).await
    }

    async fn list_entries(
        &self,
        request: Request<wire::ListEntriesRequest>,
    ) -> Result<Response<wire::ListEntriesResponse>, Status> {
        query::serve(&self.node, request).await
    }
}

/// The registration of that name.
pub(super) fn find<'a>(state: &'a State, ns: &NamespaceName, name: &EntryName) -> Result<&'a ::ca::Entry, Refusal> {
    state.entry(ns, name).ok_or_else(|| Refusal::not_found("entry", name))
}

fn answer(state: &State, full_name: &str) -> Result<wire::Entry, Refusal> {
    let (ns, entry) = name::entry(full_name)?;
    Ok(ca::entry(state, &ns, &entry, find(state, &ns, &entry)?))
}

fn said(entry: Option<&wire::Entry>) -> Result<&wire::Entry, Refusal> {
    entry.ok_or_else(|| Refusal::new(Reason::InvalidArgument, "`entry` is missing"))
}

impl Mutation for wire::CreateEntryRequest {
    const ACTION: Action = Action::CreateEntry;
    type Answer = wire::Entry;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        let ns = name::namespace(&self.parent)?;
        Ok(Target::Entry(ns, EntryName::parse(&self.entry_id).map_err(name::refused)?))
    }

    fn command(&self, _desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        Ok(Command::CreateEntry {
            namespace: name::namespace(&self.parent)?,
            name: EntryName::parse(&self.entry_id).map_err(name::refused)?,
            body: ca::entry_body(said(self.entry.as_ref())?)?,
        })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Entry, Refusal> {
        answer(desk.state, &format!("{}/entries/{}", self.parent, self.entry_id))
    }
}

impl Mutation for wire::UpdateEntryRequest {
    const ACTION: Action = Action::UpdateEntry;
    type Answer = wire::Entry;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        name::entry(&said(self.entry.as_ref())?.name).map(|(ns, entry)| Target::Entry(ns, entry))
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let entry = said(self.entry.as_ref())?;
        let (namespace, name) = name::entry(&entry.name)?;
        check_etag(desk.state, &entry.etag, find(desk.state, &namespace, &name)?.revision())?;
        Ok(Command::UpdateEntry { namespace, name, body: ca::entry_body(entry)? })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Entry, Refusal> {
        answer(desk.state, &said(self.entry.as_ref())?.name)
    }
}

impl Mutation for wire::DeleteEntryRequest {
    const ACTION: Action = Action::DeleteEntry;
    type Answer = wire::DeleteEntryResponse;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        name::entry(&self.name).map(|(ns, entry)| Target::Entry(ns, entry))
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let (namespace, name) = name::entry(&self.name)?;
        if let Some(entry) = desk.state.entry(&namespace, &name) {
            check_etag(desk.state, &self.etag, entry.revision())?;
        }
        Ok(Command::DeleteEntry { namespace, name })
    }

    fn answer(&self, _desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::DeleteEntryResponse, Refusal> {
        Ok(wire::DeleteEntryResponse {})
    }
}

impl Query for wire::GetEntryRequest {
    const ACTION: Action = Action::GetEntry;
    type Answer = wire::Entry;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        name::entry(&self.name).map(|(ns, entry)| Target::Entry(ns, entry))
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::Entry, Detail), Refusal> {
        Ok((answer(&desk.state, &self.name)?, Detail::new()))
    }
}

impl Query for wire::ListEntriesRequest {
    const ACTION: Action = Action::ListEntries;
    type Answer = wire::ListEntriesResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        name::namespace(&self.parent).map(Target::Namespace)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ListEntriesResponse, Detail), Refusal> {
        let ns = name::namespace(&self.parent)?;
        let after = page::after(&self.page_token, |text| EntryName::parse(text).ok())?;
        let found = desk.state.entries(&ns, after.as_ref(), page::size(self.page_size)?);
        let entries: Vec<_> =
            found.items.into_iter().map(|(name, entry)| ca::entry(&desk.state, &ns, name, entry)).collect();
        let detail = Detail::new().count("items", entries.len() as u64);
        Ok((wire::ListEntriesResponse { entries, next_page_token: page::token(found.next) }, detail))
    }
}
