//! Registration entries: which process, behind which agent, gets which SPIFFE ID. An [`Entry`] can only be made by
//! [`Entry::new`], which holds it inside what its namespace owns (invariant 13); the lint checks that again on the
//! finished certificate.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use types::limits::{DNS_NAMES_MAX, HINT_BYTES_MAX, SELECTORS_MAX, SVID_TTL_MAX, SVID_TTL_MIN};
use types::{AgentName, Millis, NamespaceName, Reason, Refusal, Revision, SpiffeId, Time, TrustDomain};

use crate::{DnsName, Selector};

/// What a namespace may have issued: ids strictly under `/ns/{namespace}/` of one trust domain, and DNS names under the
/// suffixes that a cluster admin granted it.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The cluster's own trust domain.
    pub trust_domain: &'a TrustDomain,
    /// The namespace.
    pub namespace: &'a NamespaceName,
    /// Its granted DNS suffixes; none by default.
    pub dns_suffixes: &'a [DnsName],
}

/// What a caller asks an entry to be: parsed, not yet judged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EntrySpec {
    /// The id its workloads get.
    pub spiffe_id: SpiffeId,
    /// The one agent that may ask for it.
    pub parent: AgentName,
    /// What a process must have, all of it.
    pub selectors: BTreeSet<Selector>,
    /// Life of its SVIDs.
    pub svid_ttl: Millis,
    /// DNS names its SVIDs also carry, in this order.
    pub dns_names: Vec<DnsName>,
    /// A word that helps a workload with several identities tell them apart (Workload API §5.2.1); may be empty.
    pub hint: String,
}

impl EntrySpec {
    /// Reads the texts of a request: `path` is the part of the id after the trust domain, such as `/ns/pay/api`.
    ///
    /// # Errors
    /// `InvalidArgument` for the first text that does not parse. What the namespace owns is judged by [`Entry::new`].
    pub fn parse(
        trust_domain: &TrustDomain,
        path: &str,
        parent: AgentName,
        selectors: &[String],
        svid_ttl: Millis,
        dns_names: &[String],
        hint: &str,
    ) -> Result<Self, Refusal> {
        let spiffe_id = trust_domain.workload(path).map_err(|why| {
            Refusal::new(Reason::InvalidArgument, format!("`{path}` is not the path of an id: {why}"))
        })?;
        let selectors = selectors.iter().map(|text| Selector::parse(text)).collect::<Result<_, _>>()?;
        let dns_names = dns_names.iter().map(|text| DnsName::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { spiffe_id, parent, selectors, svid_ttl, dns_names, hint: hint.to_owned() })
    }
}

/// A registration entry: an [`EntrySpec`] that its namespace may have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    spec: EntrySpec,
    created: Time,
    revision: Revision,
}

impl Entry {
    /// Judges a specification against what the namespace owns.
    ///
    /// # Errors
    /// `OutsideNamespace` for an id or DNS name the namespace does not own; `InvalidArgument` or `LimitExceeded` for a
    /// field out of its bounds.
    pub fn new(spec: EntrySpec, grant: Grant<'_>, created: Time, revision: Revision) -> Result<Self, Refusal> {
        grant.check_id(&spec.spiffe_id)?;
        grant.check_dns_names(&spec.dns_names)?;
        check_selectors(&spec.selectors)?;
        check_ttl(spec.svid_ttl)?;
        check_hint(&spec.hint)?;
        Ok(Self { spec, created, revision })
    }

    /// The same entry with a new specification: it keeps its age, which decides its place among others.
    ///
    /// # Errors
    /// As [`Entry::new`].
    pub fn update(&self, spec: EntrySpec, grant: Grant<'_>, revision: Revision) -> Result<Self, Refusal> {
        Self::new(spec, grant, self.created, revision)
    }

    /// What it says.
    #[must_use]
    pub const fn spec(&self) -> &EntrySpec {
        &self.spec
    }

    /// The id its workloads get.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spec.spiffe_id
    }

    /// The one agent that may ask for it.
    #[must_use]
    pub const fn parent(&self) -> &AgentName {
        &self.spec.parent
    }

    /// When it was first made; the oldest matching entry is a workload's default identity.
    #[must_use]
    pub const fn created(&self) -> Time {
        self.created
    }

    /// The log index that last changed it.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether a process with these attested properties is one of its workloads.
    #[must_use]
    pub fn matches(&self, attested: &BTreeSet<Selector>) -> bool {
        Selector::all_match(&self.spec.selectors, attested)
    }
}

impl Grant<'_> {
    /// Whether the namespace owns that id.
    ///
    /// # Errors
    /// `OutsideNamespace`, naming the path that it does own.
    pub fn check_id(&self, id: &SpiffeId) -> Result<(), Refusal> {
        let Self { trust_domain, namespace, .. } = self;
        if id.trust_domain() == *trust_domain && id.is_owned_by(namespace) {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::OutsideNamespace,
            format!(
                "`{id}` is outside namespace `{namespace}`: use an id under `spiffe://{trust_domain}/ns/{namespace}/`"
            ),
        ))
    }

    /// Whether the namespace owns those DNS names, each named once.
    ///
    /// # Errors
    /// `OutsideNamespace`, `LimitExceeded` or `InvalidArgument`.
    pub fn check_dns_names(&self, names: &[DnsName]) -> Result<(), Refusal> {
        if names.len() > DNS_NAMES_MAX {
            return Err(Refusal::new(Reason::LimitExceeded, format!("an entry has at most {DNS_NAMES_MAX} DNS names")));
        }
        if names.iter().collect::<BTreeSet<_>>().len() != names.len() {
            return Err(Refusal::new(Reason::InvalidArgument, "a DNS name is given twice, remove one"));
        }
        match names.iter().find(|name| !self.dns_suffixes.iter().any(|suffix| name.is_under(suffix))) {
            None => Ok(()),
            Some(name) => Err(Refusal::new(
                Reason::OutsideNamespace,
                format!(
                    "DNS name `{name}` is not under a suffix granted to namespace `{}`, ask a cluster admin for one",
                    self.namespace
                ),
            )),
        }
    }
}

fn check_selectors(selectors: &BTreeSet<Selector>) -> Result<(), Refusal> {
    match selectors.len() {
        0 => Err(Refusal::new(
            Reason::InvalidArgument,
            "an entry needs at least one selector, or every process would match; add one such as `unix:uid:1000`",
        )),
        1..=SELECTORS_MAX => Ok(()),
        _ => Err(Refusal::new(Reason::LimitExceeded, format!("an entry has at most {SELECTORS_MAX} selectors"))),
    }
}

fn check_ttl(ttl: Millis) -> Result<(), Refusal> {
    if (SVID_TTL_MIN..=SVID_TTL_MAX).contains(&ttl) {
        return Ok(());
    }
    let message = format!("an SVID lives from {SVID_TTL_MIN} to {SVID_TTL_MAX}, not `{ttl}`");
    Err(Refusal::new(Reason::InvalidArgument, message))
}

fn check_hint(hint: &str) -> Result<(), Refusal> {
    if hint.len() > HINT_BYTES_MAX {
        return Err(Refusal::new(Reason::LimitExceeded, format!("a hint has at most {HINT_BYTES_MAX} bytes")));
    }
    if hint.chars().any(char::is_control) {
        return Err(Refusal::new(Reason::InvalidArgument, "a hint holds printable characters only"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::limits::SVID_TTL_DEFAULT;

    use super::*;

    fn spec(id: &str) -> EntrySpec {
        EntrySpec {
            spiffe_id: SpiffeId::parse(id).expect("an id"),
            parent: AgentName::parse("node-1").expect("a name"),
            selectors: [Selector::UnixUid(1000)].into(),
            svid_ttl: SVID_TTL_DEFAULT,
            dns_names: Vec::new(),
            hint: String::new(),
        }
    }

    fn check(spec: EntrySpec) -> Result<Entry, Reason> {
        let trust_domain = TrustDomain::parse("example.org").expect("a name");
        let namespace = NamespaceName::parse("pay").expect("a name");
        let suffixes = [DnsName::parse("pay.example").expect("a name")];
        let grant = Grant { trust_domain: &trust_domain, namespace: &namespace, dns_suffixes: &suffixes };
        Entry::new(spec, grant, Time(5), Revision(7)).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn an_entry_stays_inside_its_namespace() {
        assert!(check(spec("spiffe://example.org/ns/pay/api")).is_ok());
        for outside in [
            "spiffe://example.org",
            "spiffe://example.org/ns/pay",
            "spiffe://example.org/ns/payroll/api",
            "spiffe://example.org/ns/other/api",
            "spiffe://example.org/chancery/node/1",
            "spiffe://example.org/NS/pay/a",
            "spiffe://other.org/ns/pay/api",
        ] {
            assert_eq!(check(spec(outside)).expect_err(outside), Reason::OutsideNamespace, "{outside}");
        }
    }

    #[test]
    fn dns_names_need_a_grant() {
        let with = |names: &[&str]| {
            let dns_names = names.iter().map(|name| DnsName::parse(name).expect("a name")).collect();
            check(EntrySpec { dns_names, ..spec("spiffe://example.org/ns/pay/api") }).map(|_| ())
        };
        assert_eq!(with(&["api.pay.example", "pay.example"]), Ok(()));
        assert_eq!(with(&["repay.example"]), Err(Reason::OutsideNamespace));
        assert_eq!(with(&["api.pay.example", "api.pay.example"]), Err(Reason::InvalidArgument));
        let many: Vec<_> = (0..=DNS_NAMES_MAX).map(|n| format!("n{n}.pay.example")).collect();
        assert_eq!(with(&many.iter().map(String::as_str).collect::<Vec<_>>()), Err(Reason::LimitExceeded));
    }

    #[test]
    fn fields_have_bounds() {
        let good = || spec("spiffe://example.org/ns/pay/api");
        let none = EntrySpec { selectors: BTreeSet::new(), ..good() };
        assert_eq!(check(none), Err(Reason::InvalidArgument));
        let many = (0..).take(SELECTORS_MAX + 1).map(Selector::UnixUid).collect();
        assert_eq!(check(EntrySpec { selectors: many, ..good() }), Err(Reason::LimitExceeded));
        for svid_ttl in [Millis(0), Millis(SVID_TTL_MIN.0 - 1), Millis(SVID_TTL_MAX.0 + 1)] {
            assert_eq!(check(EntrySpec { svid_ttl, ..good() }), Err(Reason::InvalidArgument), "{svid_ttl}");
        }
        let long = EntrySpec { hint: "a".repeat(HINT_BYTES_MAX + 1), ..good() };
        assert_eq!(check(long), Err(Reason::LimitExceeded));
        assert_eq!(check(EntrySpec { hint: "a\n".to_owned(), ..good() }), Err(Reason::InvalidArgument));
    }

    #[test]
    fn an_update_keeps_the_age() {
        let entry = check(spec("spiffe://example.org/ns/pay/api")).expect("an entry");
        let trust_domain = TrustDomain::parse("example.org").expect("a name");
        let namespace = NamespaceName::parse("pay").expect("a name");
        let grant = Grant { trust_domain: &trust_domain, namespace: &namespace, dns_suffixes: &[] };
        let updated = entry.update(spec("spiffe://example.org/ns/pay/b"), grant, Revision(9)).expect("an entry");
        assert_eq!((updated.created(), updated.revision()), (Time(5), Revision(9)));
    }

    #[test]
    fn the_stored_form_of_an_entry_is_fixed() {
        let filled = EntrySpec {
            dns_names: vec![DnsName::parse("a.pay.example").expect("a name")],
            hint: "api".to_owned(),
            ..spec("spiffe://example.org/ns/pay/api")
        };
        let entry = check(filled).expect("an entry");
        let bytes = postcard::to_stdvec(&entry).expect("encodes");
        let printed: String = bytes.escape_ascii().map(char::from).collect();
        expect_test::expect![[r#"\x1fspiffe://example.org/ns/pay/api\x06node-1\x01\runix:uid:1000\x80\xdd\xdb\x01\x01\ra.pay.example\x03api\x05\x07"#]].assert_eq(&printed);
        assert_eq!(postcard::from_bytes::<Entry>(&bytes).expect("decodes"), entry);
    }

    proptest! {
        #[test]
        fn no_path_outside_the_namespace_gets_in(path in "(/[a-z.]{1,5}){1,5}") {
            if let Ok(id) = SpiffeId::parse(&format!("spiffe://example.org{path}")) {
                let made = check(EntrySpec { spiffe_id: id, ..spec("spiffe://example.org/ns/pay/x") }).is_ok();
                let segments: Vec<_> = path.split('/').collect();
                prop_assert_eq!(made, segments.len() > 3 && segments[1] == "ns" && segments[2] == "pay");
            }
        }
    }
}
