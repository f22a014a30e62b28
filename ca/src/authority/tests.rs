//! Every state against every step, as a table to be read.

use crypto::sign::P256Signer;
use expect_test::expect;
use types::{Millis, NodeId, TrustDomain};

use super::*;
use crate::testkit::{NOW, Office};

const STEPS: [Step; 5] = [Step::Publish, Step::Activate, Step::Drain, Step::Retire, Step::Taint];

#[test]
fn the_whole_table_of_steps() {
    use AuthorityState as S;
    let mut table = String::new();
    for state in [S::Generated, S::Published, S::Active, S::Draining, S::Retired, S::Tainted] {
        table += &format!("{state:<10}");
        for step in STEPS {
            let mut authority = Office::new("example.org").authority;
            authority.state = state;
            let next = authority.advance(step, NOW, 9).map(|()| authority.state.to_string());
            table += &format!(" {step:?}: {:<10}", next.unwrap_or_else(|_| "-".to_owned()));
        }
        table = format!("{}\n", table.trim_end());
    }
    expect![[r#"
        generated  Publish: published  Activate: -          Drain: -          Retire: retired    Taint: tainted
        published  Publish: -          Activate: active     Drain: -          Retire: retired    Taint: tainted
        active     Publish: -          Activate: -          Drain: draining   Retire: -          Taint: tainted
        draining   Publish: -          Activate: -          Drain: -          Retire: retired    Taint: tainted
        retired    Publish: -          Activate: -          Drain: -          Retire: -          Taint: -
        tainted    Publish: -          Activate: -          Drain: -          Retire: retired    Taint: -
    "#]]
    .assert_eq(&table);
}

#[test]
fn an_authority_too_old_for_its_svids_to_end_in_time_is_not_activated() {
    let mut authority = Office::new("example.org").authority;
    authority.state = AuthorityState::Published;
    let last = authority.signs_until();
    assert_eq!(
        authority.clone().advance(Step::Activate, last, 9).map_err(|r| r.reason),
        Err(Reason::PreconditionFailed)
    );
    assert!(authority.advance(Step::Activate, last.before(Millis(1)), 9).is_ok());
}

#[test]
fn steps_leave_their_times() {
    let office = Office::new("example.org");
    let mut authority = office.authority;
    assert_eq!((authority.generated, authority.published, authority.activated), (NOW, Some(NOW), Some(NOW)));
    assert_eq!(authority.published_sequence, 1);
    authority.advance(Step::Drain, NOW.after(Millis(5)), 2).expect("drains");
    authority.advance(Step::Taint, NOW.after(Millis(9)), 3).expect("taints");
    assert_eq!(authority.ended, Some(NOW.after(Millis(5))), "it signed no more from here on");
    assert_eq!(authority.published_sequence, 1, "agents acknowledged the sequence that brought it");
}

#[test]
fn only_an_authority_certificate_of_our_trust_domain_is_taken() {
    let office = Office::new("example.org");
    let take = |der: &[u8], domain: &str| {
        let domain = TrustDomain::parse(domain).expect("a name");
        Authority::generated(NodeId(1), der.to_vec(), &domain, NOW).map_err(|refusal| refusal.reason)
    };
    let good = &office.authority.certificate;
    assert!(take(good, "example.org").is_ok());
    assert_eq!(take(good, "other.org").map(|_| ()), Err(Reason::InvalidArgument));
    assert_eq!(take(b"nonsense", "example.org").map(|_| ()), Err(Reason::InvalidArgument));
    let leaf = office.issue(&P256Signer::generate());
    assert_eq!(take(leaf.certificate.der(), "example.org").map(|_| ()), Err(Reason::InvalidArgument));
}

#[test]
fn the_bundle_has_a_bound() {
    let authority = Office::new("example.org").authority;
    let retired = Authority { state: AuthorityState::Retired, ..authority.clone() };
    let mut held = vec![retired; 3];
    held.extend(vec![authority.clone(); BUNDLE_ROOTS_MAX - 1]);
    assert_eq!(check_room(&held), Ok(()));
    held.push(authority);
    assert_eq!(check_room(&held).map_err(|refusal| refusal.reason), Err(Reason::LimitExceeded));
}

#[test]
fn the_stored_form_of_an_authority_is_fixed() {
    let authority = Authority {
        node: NodeId(3),
        key: SpkiHash([0xaa; 32]),
        certificate: vec![0x30, 0x00],
        state: AuthorityState::Active,
        generated: Time(1),
        published: Some(Time(2)),
        activated: Some(Time(300)),
        ended: None,
        not_after: NOW,
        published_sequence: 1 << 40,
    };
    let bytes = postcard::to_stdvec(&authority).expect("encodes");
    let printed: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    expect!["03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0230000201010201ac02008087b49da034808080808020"].assert_eq(&printed);
    assert_eq!(postcard::from_bytes::<Authority>(&bytes).expect("decodes"), authority);
    let states = postcard::to_stdvec(&{
        use AuthorityState as S;
        [S::Generated, S::Published, S::Active, S::Draining, S::Retired, S::Tainted]
    });
    assert_eq!(states.expect("encodes"), [0, 1, 2, 3, 4, 5], "new states go at the end");
}
