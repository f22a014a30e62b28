//! Tenants: made with their own key-encryption key, kept to their settings.

use types::limits::{NAMESPACES_MAX, ROTATION_FLOOR_MIN, ROTATION_PERIOD_MAX, WAITING_PERIOD_MAX};
use types::{KeyId, NamespaceName, Reason, Refusal};

use super::checks;
use crate::command::Reply;
use crate::outcome::Effect;
use crate::rows::{Namespace, NamespaceSettings, Withdrawn};
use crate::turn::{Handled, Turn, refuse};

/// Most DNS suffixes of a namespace.
const SUFFIXES_MAX: usize = types::limits::DNS_NAMES_MAX;

pub(crate) fn create(
    turn: &mut Turn<'_>,
    name: &NamespaceName,
    id: KeyId,
    settings: &NamespaceSettings,
    kek_wrapped: &[u8],
) -> Handled {
    if turn.state.namespace_table().contains(name) {
        return refuse(Reason::AlreadyExists, format!("namespace `{name}` exists already, choose another name"));
    }
    checks::room("namespaces", turn.state.namespace_table().len(), NAMESPACES_MAX)?;
    check(settings)?;
    checks::wrapped(kek_wrapped)?;
    // Ciphertexts are bound to the id; 16 random bytes meet again only by a fault.
    if turn.state.namespaces().any(|(_, other)| other.id == id) {
        return refuse(Reason::AlreadyExists, "the namespace id is taken, draw another");
    }
    let row = Namespace::open(id, settings.clone(), kek_wrapped.to_vec(), turn.now, turn.revision);
    turn.state.put_namespace(name.clone(), row);
    turn.effect(Effect::NamespaceChanged(name.clone()));
    describe(turn, settings);
    Ok(Reply::Done)
}

pub(crate) fn update(turn: &mut Turn<'_>, name: &NamespaceName, settings: &NamespaceSettings) -> Handled {
    let Some(row) = turn.state.namespace_table().get(name) else {
        return Err(Refusal::not_found("namespace", name));
    };
    turn.state.check_not_destroyed(name)?;
    check(settings)?;
    let gone = row.settings.dns_suffixes.iter().filter(|suffix| !settings.dns_suffixes.contains(suffix));
    let gone: Vec<String> = gone.cloned().collect();
    let row = Namespace { settings: settings.clone(), revision: turn.revision, ..row.clone() };
    turn.state.put_namespace(name.clone(), row);
    gone.into_iter().for_each(|suffix| turn.withdraw(Withdrawn::Suffix(name.clone(), suffix)));
    turn.effect(Effect::NamespaceChanged(name.clone()));
    describe(turn, settings);
    Ok(Reply::Done)
}

/// Whether settings are within their bounds.
pub(crate) fn check(settings: &NamespaceSettings) -> Result<(), Refusal> {
    // A quota below what there is takes nothing away.
    let NamespaceSettings { rotation_floor, dns_suffixes, waiting_period_floor, keys_max: _, entries_max: _ } =
        settings;
    if !(ROTATION_FLOOR_MIN..=ROTATION_PERIOD_MAX).contains(rotation_floor) {
        return refuse(
            Reason::InvalidArgument,
            format!(
                "a rotation floor lies between {ROTATION_FLOOR_MIN} and {ROTATION_PERIOD_MAX}, not `{rotation_floor}`"
            ),
        );
    }
    if *waiting_period_floor > WAITING_PERIOD_MAX {
        let message =
            format!("a floor of waiting periods is at most {WAITING_PERIOD_MAX}, not `{waiting_period_floor}`");
        return refuse(Reason::InvalidArgument, message);
    }
    if dns_suffixes.len() > SUFFIXES_MAX {
        return refuse(Reason::LimitExceeded, format!("a namespace has at most {SUFFIXES_MAX} DNS suffixes"));
    }
    dns_suffixes.iter().try_for_each(|suffix| ca::DnsName::parse(suffix).map(drop))
}

fn describe(turn: &mut Turn<'_>, settings: &NamespaceSettings) {
    turn.fact_count("rotation_floor_ms", settings.rotation_floor.0);
    turn.fact_count("waiting_period_floor_ms", settings.waiting_period_floor.0);
    for (name, most) in [("keys_max", settings.keys_max), ("entries_max", settings.entries_max)] {
        if let Some(most) = most {
            turn.fact_count(name, u64::from(most));
        }
    }
    if !settings.dns_suffixes.is_empty() {
        turn.fact_text("dns_suffixes", &settings.dns_suffixes.join(" "));
    }
}
