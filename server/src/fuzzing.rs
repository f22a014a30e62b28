//! Doors for `fuzz/`: what a node reads from its folder, from operators' files and from callers. Only with `--cfg fuzzing`.
//!
//! A door says what was read, written again; what must hold of that is judged there. None of it is public otherwise.

use prost::Message as _;
use proto::{ca::v1 as ca, cluster::v1 as cluster, kms::v1 as kms};
use types::Refusal;

pub use crate::audit_store::fuzzing::{
    audit_file, audit_header, page_token, summary, write_audit_file, write_page_token,
};
pub use crate::backup::fuzzing::{manifest, sealed, signed, write_manifest};
pub use crate::membership::{is_node_file, members_of_file};
pub use crate::seal::fuzzing::{is_share, seal_record, write_seal_records, write_share};

use crate::wire;

/// What the leader's state machine told the proposer.
///
/// # Errors
/// The refusal in it.
pub fn reply(bytes: &[u8]) -> Result<state::Reply, Refusal> {
    crate::machine::decode_reply(bytes)
}

/// A request by a caller, by its number, turned into what the state machine takes: whether it was taken.
#[must_use]
pub fn request(which: u8, bytes: &[u8]) -> Option<bool> {
    Some(match which % 10 {
        0 => wire::kms::settings(&kms::CreateKeyRequest::decode(bytes).ok()?).is_ok(),
        1 => wire::kms::change(&kms::UpdateKeyRequest::decode(bytes).ok()?).is_ok(),
        2 => {
            let request = kms::EncryptRequest::decode(bytes).ok()?;
            wire::name::key(&request.name).is_ok() & wire::kms::context(request.context).is_ok()
        }
        3 => wire::ca::entry_body(&ca::Entry::decode(bytes).ok()?).is_ok(),
        4 => wire::cluster::namespace_settings(&cluster::Namespace::decode(bytes).ok()?).is_ok(),
        5 => wire::cluster::parse_binding(cluster::GrantRoleRequest::decode(bytes).ok()?.binding.as_ref()).is_ok(),
        6 => wire::cluster::enrolment(cluster::EnrolOperatorRequest::decode(bytes).ok()?.ttl.as_ref()).is_ok(),
        7 => {
            let request = kms::ListKeysRequest::decode(bytes).ok()?;
            let after = wire::page::after(&request.page_token, |text| types::KeyName::parse(text).ok());
            wire::page::size(request.page_size).is_ok() & after.is_ok() & wire::name::namespace(&request.parent).is_ok()
        }
        8 => {
            let time = prost_types::Timestamp::decode(bytes).ok()?;
            let taken = wire::time::time("time", &time);
            if let Ok(time) = &taken {
                assert_eq!(wire::time::timestamp(*time).map(|again| wire::time::time("time", &again)), Some(Ok(*time)));
            }
            taken.is_ok()
        }
        _ => {
            let text = std::str::from_utf8(bytes).ok()?;
            let names = [
                wire::name::namespace(text).is_ok(),
                wire::name::key(text).is_ok(),
                wire::name::entry(text).is_ok(),
                wire::name::agent(text).is_ok(),
                wire::name::operator(text).is_ok(),
                wire::audit::log(text).is_ok(),
            ];
            // A text names one kind of thing.
            assert!(names.iter().filter(|is_one| **is_one).count() <= 1, "`{text}` has two meanings");
            names.contains(&true)
        }
    })
}
