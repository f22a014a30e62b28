//! Bundle documents, written and read. Names start with the number of the SPIFFE point they hold.

use crypto::sign::P256Signer;
use expect_test::expect;
use serde_json::{Value, json};

use super::*;
use crate::testkit::{NOW, Office};
use crate::{AuthorityState, Step};

fn parsed(bundle: &Bundle) -> Value {
    serde_json::from_str(&bundle.to_json().expect("writes")).expect("JSON")
}

fn read(json: &Value) -> Result<Bundle, Fault> {
    Bundle::from_json(TrustDomain::parse("example.org").expect("a name"), &json.to_string())
}

#[test]
fn p28_p41_p42_one_jwk_for_each_root() {
    let office = Office::new("example.org");
    let mut json = parsed(&office.bundle());
    let key = json["keys"][0].take();
    expect![[r#"{"keys":[null],"spiffe_refresh_hint":300,"spiffe_sequence":7}"#]].assert_eq(&json.to_string());
    let names: Vec<_> = key.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["crv", "kty", "use", "x", "x5c", "y"], "no kid, nothing undefined (p45)");
    assert_eq!((&key["kty"], &key["crv"], &key["use"]), (&json!("EC"), &json!("P-256"), &json!("x509-svid")));
    let decode = |text: &Value, engine: &base64::engine::GeneralPurpose| {
        base64::Engine::decode(engine, text.as_str().expect("text")).expect("base64")
    };
    let url = &base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let point = [vec![4], decode(&key["x"], url), decode(&key["y"], url)].concat();
    assert_eq!(point, office.signer.public_point());
    assert_eq!(key["x5c"].as_array().map(Vec::len), Some(1));
    assert_eq!(decode(&key["x5c"][0], &base64::engine::general_purpose::STANDARD), office.authority.certificate);
}

#[test]
fn what_is_written_reads_the_same() {
    let bundle = Office::new("example.org").bundle();
    let again = Bundle::from_json(bundle.trust_domain.clone(), &bundle.to_json().expect("writes"));
    assert_eq!(again.expect("reads"), bundle);
}

#[test]
fn p29_only_the_first_certificate_of_an_entry_counts_and_none_is_passed_over() {
    let (office, other) = (Office::new("example.org"), Office::new("example.org"));
    let mut json = parsed(&office.bundle());
    let second = parsed(&other.bundle())["keys"][0]["x5c"][0].clone();
    json["keys"][0]["x5c"].as_array_mut().expect("a list").push(second);
    assert_eq!(read(&json).expect("reads").roots, [office.authority.certificate]);
    json["keys"][0]["x5c"] = json!([]);
    assert!(read(&json).expect("reads").roots.is_empty());
    json["keys"][0].as_object_mut().expect("an object").remove("x5c");
    assert!(read(&json).expect("reads").roots.is_empty());
}

#[test]
fn p41_p42_sequence_and_hint_are_whole_numbers() {
    let document =
        |sequence: Value, hint: Value| json!({"keys": [], "spiffe_sequence": sequence, "spiffe_refresh_hint": hint});
    let largest = read(&document(json!(u64::MAX), json!(60))).expect("64 bits");
    assert_eq!((largest.sequence, largest.refresh_hint), (u64::MAX, Millis::from_secs(60)));
    for wrong in [json!(-1), json!(1.5), json!("7")] {
        assert!(read(&document(wrong.clone(), json!(60))).is_err(), "{wrong}");
        assert!(read(&document(json!(1), wrong.clone())).is_err(), "{wrong}");
    }
    let absent = read(&json!({"keys": []})).expect("both are optional");
    assert_eq!((absent.sequence, absent.refresh_hint), (0, Millis::from_secs(300)));
}

#[test]
fn p43_keys_are_present_but_may_be_none() {
    assert!(read(&json!({"keys": []})).expect("an empty bundle").roots.is_empty());
    for wrong in [json!({}), json!({"keys": null}), json!({"keys": {}}), json!([]), json!("keys")] {
        assert!(read(&wrong).is_err(), "{wrong}");
    }
    assert!(Bundle::from_json(Office::new("example.org").trust_domain, r#"{"keys":[],"keys":[]}"#).is_err());
}

#[test]
fn p44_unknown_keys_are_passed_over_without_harm_to_the_rest() {
    let office = Office::new("example.org");
    let good = parsed(&office.bundle())["keys"][0].clone();
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        key
    };
    let leaf = office.issue(&P256Signer::generate());
    let leaf = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, leaf.certificate.der());
    let strange = json!([
        with("use", json!("jwt-svid")),
        with("use", json!("X509-SVID")),
        with("use", Value::Null),
        with("kty", json!("ec")),
        with("kty", json!("oct")),
        with("kty", json!(1)),
        with("x5c", json!(["not base64!"])),
        with("x5c", json!(["AAAA"])),
        with("x5c", json!([leaf])),
        json!({}),
        json!(7),
        good,
    ]);
    assert_eq!(read(&json!({"keys": strange})).expect("reads").roots, [office.authority.certificate]);
}

#[test]
fn p45_unknown_top_level_parameters_are_allowed() {
    assert!(read(&json!({"keys": [], "something": {"else": 1}})).is_ok());
}

#[test]
fn the_bundle_holds_what_is_published_and_not_retired() {
    use AuthorityState as S;
    let holds = |state| {
        let mut office = Office::new("example.org");
        office.authority.state = state;
        office.bundle().roots.len() == 1
    };
    let held: Vec<_> = [S::Generated, S::Published, S::Active, S::Draining, S::Retired, S::Tainted].map(holds).into();
    assert_eq!(held, [false, true, true, true, false, true]);
}

#[test]
fn roots_are_listed_oldest_first() {
    let (mut first, second) = (Office::new("example.org").authority, Office::new("example.org").authority);
    first.generated = NOW.before(Millis(1));
    first.advance(Step::Drain, NOW, 2).expect("drains");
    let domain = TrustDomain::parse("example.org").expect("a name");
    let bundle = Bundle::of_authorities(domain, 1, [&second, &first]);
    assert_eq!(bundle.roots, [first.certificate.clone(), second.certificate.clone()]);
    assert_eq!(bundle.roots_der(), [first.certificate, second.certificate].concat());
    assert_eq!(pem::parse_many(bundle.roots_pem()).expect("PEM").len(), 2);
}
