//! Registrations: `ca` holds each inside what its namespace owns (invariant 13).

use std::collections::BTreeSet;

use ca::{DnsName, EntrySpec, Grant, Selector};
use types::limits::{DNS_NAMES_MAX, ENTRIES_MAX, SELECTORS_MAX};
use types::{EntryName, Millis, NamespaceName, Reason, Refusal, Time};

use super::checks;
use crate::State;
use crate::command::{EntryBody, Reply};
use crate::outcome::Effect;
use crate::rows::Withdrawn;
use crate::turn::{Handled, Turn, refuse};

pub(crate) fn create(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &EntryName, body: &EntryBody) -> Handled {
    let entry = {
        let owned = Owned::of(turn.state, namespace)?;
        if turn.state.entry(namespace, name).is_some() {
            return refuse(Reason::AlreadyExists, format!("entry `{name}` exists already, choose another name"));
        }
        checks::room("entries", turn.state.entry_table().len(), ENTRIES_MAX)?;
        checks::quota(turn.state, namespace, checks::Quota::Entries)?;
        ca::Entry::new(parse(&owned, body)?, owned.grant(namespace), turn.now, turn.revision)?
    };
    write(turn, namespace, name, entry);
    Ok(Reply::Done)
}

pub(crate) fn update(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &EntryName, body: &EntryBody) -> Handled {
    let (old, entry) = {
        let owned = Owned::of(turn.state, namespace)?;
        let Some(old) = turn.state.entry(namespace, name) else {
            return Err(Refusal::not_found("entry", name));
        };
        (old.clone(), old.update(parse(&owned, body)?, owned.grant(namespace), turn.revision)?)
    };
    turn.state.remember_ttl(turn.now, old.spec().svid_ttl);
    turn.withdraw(Withdrawn::Entry(namespace.clone(), name.clone()));
    turn.effect(Effect::EntriesChanged(old.parent().clone()));
    write(turn, namespace, name, entry);
    Ok(Reply::Done)
}

pub(crate) fn delete(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &EntryName) -> Handled {
    let Some(old) = turn.state.entry(namespace, name).cloned() else {
        return Err(Refusal::not_found("entry", name));
    };
    turn.state.remember_ttl(turn.now, old.spec().svid_ttl);
    turn.withdraw(Withdrawn::Entry(namespace.clone(), name.clone()));
    turn.state.remove_entry(namespace, name);
    turn.fact_text("spiffe_id", &old.spiffe_id().to_string());
    turn.effect(Effect::EntriesChanged(old.parent().clone()));
    Ok(Reply::Done)
}

/// What the namespace owns, as `ca` wants to see it.
struct Owned<'a> {
    trust_domain: &'a types::TrustDomain,
    suffixes: Vec<DnsName>,
}

impl<'a> Owned<'a> {
    fn of(state: &'a State, namespace: &NamespaceName) -> Result<Self, Refusal> {
        let row = state.namespace(namespace).ok_or_else(|| Refusal::not_found("namespace", namespace))?;
        state.check_not_closed(namespace)?;
        let trust_domain = state
            .trust_domain()
            .ok_or_else(|| Refusal::new(Reason::NotInitialized, "the cluster has not been formed yet"))?;
        let suffixes = row.settings.dns_suffixes.iter().map(|text| DnsName::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { trust_domain, suffixes })
    }

    fn grant<'b>(&'b self, namespace: &'b NamespaceName) -> Grant<'b> {
        Grant { trust_domain: self.trust_domain, namespace, dns_suffixes: &self.suffixes }
    }
}

/// Text into what `ca` judges. Lists are bounded before they are walked.
fn parse(owned: &Owned<'_>, body: &EntryBody) -> Result<EntrySpec, Refusal> {
    let EntryBody { path, parent, selectors, svid_ttl, dns_names, hint } = body;
    if selectors.len() > SELECTORS_MAX || dns_names.len() > DNS_NAMES_MAX {
        let message = format!("an entry has at most {SELECTORS_MAX} selectors and {DNS_NAMES_MAX} DNS names");
        return refuse(Reason::LimitExceeded, message);
    }
    let spiffe_id = owned.trust_domain.workload(path).map_err(|error| {
        let shown: String = path.chars().take(80).collect();
        Refusal::new(Reason::InvalidArgument, format!("`{shown}` is not a SPIFFE path: {error}"))
    })?;
    Ok(EntrySpec {
        spiffe_id,
        parent: parent.clone(),
        selectors: selectors.iter().map(|text| Selector::parse(text)).collect::<Result<BTreeSet<_>, _>>()?,
        svid_ttl: *svid_ttl,
        dns_names: dns_names.iter().map(|text| DnsName::parse(text)).collect::<Result<_, _>>()?,
        hint: hint.clone(),
    })
}

fn write(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &EntryName, entry: ca::Entry) {
    turn.fact_text("spiffe_id", &entry.spiffe_id().to_string());
    turn.fact_text("parent", entry.parent().as_str());
    turn.effect(Effect::EntriesChanged(entry.parent().clone()));
    turn.state.put_entry(namespace.clone(), name.clone(), entry);
}

impl State {
    /// SVIDs issued under a registration outlive it: the TTL it had counts, for authorities that wait for the longest, until
    /// the last such SVID has run out. One pair stands for all such, the larger of each: it can only delay.
    pub(crate) fn remember_ttl(&mut self, now: Time, ttl: Millis) {
        let until = now.after(ttl);
        let lowered = self.progress().lowered_ttl.filter(|(_, until)| now < *until);
        let (held_ttl, held_until) = lowered.unwrap_or((Millis::ZERO, Time::EPOCH));
        self.progress_mut().lowered_ttl = Some((held_ttl.max(ttl), held_until.max(until)));
    }
}
