//! `KeyService`, other names of keys: made, given to another key, taken away. What a call that names one uses is
//! [`Target::named_key`]'s to say.

use audit::Detail;
use proto::kms::v1 as wire;
use state::rows::Alias;
use state::{Command, Reply, State};
use types::{Action, AliasName, KeyName, NamespaceName, Reason, Refusal};

use super::macros::request_fields;
use crate::core::StateView;
use crate::request::authn::Caller;
use crate::request::mutation::{self, Mutation};
use crate::request::query::{self, Query};
use crate::request::target::Target;
use crate::wire::cluster::check_etag;
use crate::wire::{kms, name, page};

fn find<'a>(state: &'a State, ns: &NamespaceName, alias: &AliasName) -> Result<&'a Alias, Refusal> {
    state.alias(ns, alias).ok_or_else(|| Refusal::not_found("alias", alias))
}

fn answer(state: &State, full_name: &str) -> Result<wire::Alias, Refusal> {
    let (ns, alias) = name::alias(full_name)?;
    Ok(kms::alias(state, &ns, &alias, find(state, &ns, &alias)?))
}

fn target(full_name: &str) -> Result<Target, Refusal> {
    name::alias(full_name).map(|(ns, alias)| Target::Alias(ns, alias))
}

/// The key that an alias is to stand for, of the alias's own namespace: the right to that one was decided, and no other's.
fn key_in(ns: &NamespaceName, full_name: &str) -> Result<KeyName, Refusal> {
    let (of, key) = name::key(full_name)?;
    if of == *ns {
        return Ok(key);
    }
    let text =
        format!("`{full_name}` is of another namespace: an alias stands for a key of its own, namespaces/{ns}/keys/…");
    Err(Refusal::new(Reason::InvalidArgument, text))
}

impl Mutation for wire::CreateAliasRequest {
    const ACTION: Action = Action::CreateAlias;
    type Answer = wire::Alias;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        let ns = name::namespace(&self.parent)?;
        Ok(Target::Alias(ns, AliasName::parse(&self.alias_id).map_err(name::refused)?))
    }

    fn command(&self, _desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let namespace = name::namespace(&self.parent)?;
        let name = AliasName::parse(&self.alias_id).map_err(name::refused)?;
        Ok(Command::CreateAlias { key: key_in(&namespace, &self.key)?, name, namespace })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Alias, Refusal> {
        answer(desk.state, &format!("{}/aliases/{}", self.parent, self.alias_id))
    }
}

impl Mutation for wire::UpdateAliasRequest {
    const ACTION: Action = Action::UpdateAlias;
    type Answer = wire::Alias;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        target(&self.name)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let (namespace, name) = name::alias(&self.name)?;
        check_etag(desk.state, &self.etag, find(desk.state, &namespace, &name)?.revision)?;
        Ok(Command::UpdateAlias { key: key_in(&namespace, &self.key)?, name, namespace })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Alias, Refusal> {
        answer(desk.state, &self.name)
    }
}

impl Mutation for wire::DeleteAliasRequest {
    const ACTION: Action = Action::DeleteAlias;
    type Answer = wire::DeleteAliasResponse;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        target(&self.name)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let (namespace, name) = name::alias(&self.name)?;
        check_etag(desk.state, &self.etag, find(desk.state, &namespace, &name)?.revision)?;
        Ok(Command::DeleteAlias { namespace, name })
    }

    fn answer(&self, _desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::DeleteAliasResponse, Refusal> {
        Ok(wire::DeleteAliasResponse {})
    }
}

impl Query for wire::GetAliasRequest {
    const ACTION: Action = Action::GetAlias;
    type Answer = wire::Alias;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        target(&self.name)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::Alias, Detail), Refusal> {
        let found = answer(&desk.state, &self.name)?;
        let detail = Detail::new().text("key", &found.key);
        Ok((found, detail))
    }
}

impl Query for wire::ListAliasesRequest {
    const ACTION: Action = Action::ListAliases;
    type Answer = wire::ListAliasesResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        name::namespace(&self.parent).map(Target::Namespace)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ListAliasesResponse, Detail), Refusal> {
        let ns = name::namespace(&self.parent)?;
        let after = page::after(&self.page_token, |text| AliasName::parse(text).ok())?;
        let found = desk.state.aliases(&ns, after.as_ref(), page::size(self.page_size)?);
        let aliases: Vec<_> =
            found.items.into_iter().map(|(name, row)| kms::alias(&desk.state, &ns, name, row)).collect();
        let detail = Detail::new().count("items", aliases.len() as u64);
        Ok((wire::ListAliasesResponse { aliases, next_page_token: page::token(found.next) }, detail))
    }
}
