//! `KeyService`, the two ends of a version's use: activated, and destroyed or restored before that.

use proto::kms::v1 as wire;
use state::{Command, Reply};
use types::{Action, Reason, Refusal};

use super::keys::{answer, answer_with_receipts, seen, target};
use super::macros::request_fields;
use crate::request::authn::Caller;
use crate::request::mutation::{Desk, Mutation};
use crate::request::target::Target;
use crate::wire::name;

impl Mutation for wire::DestroyKeyRequest {
    const ACTION: Action = Action::DestroyKey;
    type Answer = wire::Key;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        target(&self.name)
    }

    fn command(&self, desk: &Desk<'_>) -> Result<Command, Refusal> {
        let (namespace, name) = seen(desk.state, &self.name, &self.etag)?;
        let version = (self.version != 0).then_some(self.version);
        Ok(Command::DestroyKey { namespace, name, version, urgent: self.erase_now })
    }

    fn answer(&self, desk: &Desk<'_>, _reply: &Reply) -> Result<wire::Key, Refusal> {
        let (namespace, name) = name::key(&self.name)?;
        answer_with_receipts(desk.state, &namespace, &name)
    }
}

impl Mutation for wire::RestoreKeyRequest {
    const ACTION: Action = Action::RestoreKey;
    type Answer = wire::Key;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        target(&self.name)
    }

    fn command(&self, desk: &Desk<'_>) -> Result<Command, Refusal> {
        let (namespace, name) = seen(desk.state, &self.name, &self.etag)?;
        Ok(Command::RestoreKey { namespace, name, version: (self.version != 0).then_some(self.version) })
    }

    fn answer(&self, desk: &Desk<'_>, _reply: &Reply) -> Result<wire::Key, Refusal> {
        answer(desk.state, &self.name)
    }
}

impl Mutation for wire::ActivateKeyVersionRequest {
    const ACTION: Action = Action::ActivateKeyVersion;
    type Answer = wire::Key;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        target(&self.name)
    }

    fn command(&self, desk: &Desk<'_>) -> Result<Command, Refusal> {
        let (namespace, name) = seen(desk.state, &self.name, &self.etag)?;
        if self.version == 0 {
            return Err(Refusal::new(Reason::InvalidArgument, "`version` is missing: say which one to activate"));
        }
        Ok(Command::ActivateVersion { namespace, name, version: self.version })
    }

    fn answer(&self, desk: &Desk<'_>, _reply: &Reply) -> Result<wire::Key, Refusal> {
        answer(desk.state, &self.name)
    }
}
