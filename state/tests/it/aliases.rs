//! Other names of keys: one entry gives one to another key, each stands for a key of its own namespace, and a refusal
//! changes nothing.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use state::{Command, NamespaceSettings, Proposal, Reply, State, read_snapshot, write_snapshot};
use types::{AliasName, KeyId, KeyName, Millis, NamespaceName, Reason, Refusal, Time};

use crate::common::{Cluster, FORMED, proposal, request_id, root};

fn ns(name: &str) -> NamespaceName {
    NamespaceName::parse(name).expect("a name")
}

fn key(name: &str) -> KeyName {
    KeyName::parse(name).expect("a name")
}

fn alias(name: &str) -> AliasName {
    AliasName::parse(name).expect("a name")
}

fn why<T>(result: Result<T, Refusal>) -> Option<Reason> {
    result.err().map(|refusal| refusal.reason)
}

fn create(namespace: &str, name: &str, of: &str) -> Command {
    Command::CreateAlias { namespace: ns(namespace), name: alias(name), key: key(of) }
}

fn update(namespace: &str, name: &str, to: &str) -> Command {
    Command::UpdateAlias { namespace: ns(namespace), name: alias(name), key: key(to) }
}

fn delete(namespace: &str, name: &str) -> Command {
    Command::DeleteAlias { namespace: ns(namespace), name: alias(name) }
}

/// Two namespaces, each with the keys `blue` and `green`.
fn with_keys() -> Cluster {
    let mut cluster = Cluster::formed();
    let settings = NamespaceSettings { waiting_period_floor: Millis::ZERO, ..NamespaceSettings::default() };
    let kek_wrapped = vec![6; 64];
    let made = Command::CreateNamespace { name: ns("pay"), id: KeyId([9; 16]), settings, kek_wrapped };
    cluster.ask(made).expect("a namespace");
    cluster.without_waiting();
    for (number, (namespace, name)) in
        (1..).zip([("default", "blue"), ("default", "green"), ("pay", "blue"), ("pay", "green")])
    {
        let made = Command::CreateKey {
            namespace: ns(namespace),
            name: key(name),
            id: KeyId([number; 16]),
            algorithm: kms::Algorithm::Aes256Gcm,
            settings: kms::KeySettings { waiting_period: Some(Millis::ZERO), ..kms::KeySettings::default() },
            material: kms::WrappedMaterial::secret(vec![number; 81]),
        };
        cluster.ask(made).expect("a key");
    }
    cluster
}

fn stands_for(state: &State, namespace: &str, name: &str) -> Option<String> {
    state.alias(&ns(namespace), &alias(name)).map(|row| row.key.to_string())
}

fn roundtrip(state: &State) -> State {
    let mut bytes = Vec::new();
    let take = &mut |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    write_snapshot(state, take).expect("written");
    let read = read_snapshot(&mut bytes.as_slice()).expect("reads");
    assert_eq!(read.hash(), state.hash());
    read.check().expect("whole");
    read
}

#[test]
fn one_entry_gives_an_alias_to_another_key() {
    let mut cluster = with_keys();
    assert_eq!(cluster.ask(create("default", "current", "blue")), Ok(Reply::Done));
    let made = cluster.state.alias(&ns("default"), &alias("current")).expect("there").clone();
    assert_eq!(made.revision.0, cluster.index);
    assert_eq!(cluster.ask(update("default", "current", "green")), Ok(Reply::Done));
    let moved = cluster.state.alias(&ns("default"), &alias("current")).expect("there").clone();
    assert_eq!((moved.key.as_str(), moved.created, moved.revision.0), ("green", made.created, cluster.index));
    let read = roundtrip(&cluster.state);
    assert_eq!(stands_for(&read, "default", "current").as_deref(), Some("green"));
    assert_eq!(cluster.ask(delete("default", "current")), Ok(Reply::Done));
    assert_eq!(stands_for(&cluster.state, "default", "current"), None);
    cluster.state.check().expect("whole");
}

#[test]
fn what_is_not_to_be_is_refused_and_changes_nothing() {
    let mut cluster = with_keys();
    cluster.ask(create("default", "current", "blue")).expect("an alias");
    let green = |enabled| Command::SetKeyEnabled { namespace: ns("pay"), name: key("green"), version: None, enabled };
    cluster.ask(green(false)).expect("disabled");
    let gone = Command::DestroyKey { namespace: ns("pay"), name: key("green"), version: None, urgent: false };
    let version = Command::SetKeyEnabled { namespace: ns("pay"), name: key("green"), version: Some(1), enabled: false };
    cluster.ask(version).expect("disabled");
    cluster.ask(gone).expect("destroyed");
    cluster.ask(create("pay", "current", "blue")).expect("another of that name");
    let before = cluster.state.substance_hash();
    for (command, reason) in [
        (create("default", "current", "green"), Reason::AlreadyExists),
        (create("default", "other", "red"), Reason::NotFound),
        (create("nowhere", "other", "blue"), Reason::NotFound),
        (create("pay", "other", "green"), Reason::KeyDestroyed),
        (update("default", "other", "green"), Reason::NotFound),
        (update("default", "current", "red"), Reason::NotFound),
        (update("pay", "current", "green"), Reason::KeyDestroyed),
        (delete("default", "other"), Reason::NotFound),
        (delete("nowhere", "current"), Reason::NotFound),
    ] {
        assert_eq!(why(cluster.ask(command.clone())), Some(reason), "{command:?}");
        assert_eq!(cluster.state.substance_hash(), before, "{command:?}");
    }
}

#[test]
fn a_retry_is_answered_and_not_done_again() {
    let mut cluster = with_keys();
    cluster.ask(create("default", "current", "blue")).expect("an alias");
    let id = request_id(FORMED, 7);
    assert_eq!(cluster.ask_as(id, 1, update("default", "current", "green")), Ok(Reply::Done));
    cluster.ask(update("default", "current", "blue")).expect("moved back");
    assert_eq!(cluster.ask_as(id, 1, update("default", "current", "green")), Ok(Reply::Done));
    assert_eq!(stands_for(&cluster.state, "default", "current").as_deref(), Some("blue"), "the retry moved it again");
    assert_eq!(why(cluster.ask_as(id, 2, delete("default", "current"))), Some(Reason::RequestIdReused));
    let remembered = cluster.state.remembered(&root(), id).expect("remembered");
    assert!(remembered.fenced, "a retry waits for the fence too");
}

#[test]
fn one_tenant_does_not_take_the_names_of_all() {
    let mut cluster = with_keys();
    let most = types::limits::ALIASES_PER_NAMESPACE_MAX;
    for number in 0..most {
        cluster.ask(create("default", &format!("a{number}"), "blue")).expect("an alias");
    }
    let refused = cluster.ask(create("default", "more", "blue")).expect_err("one too many");
    assert_eq!(refused.reason, Reason::LimitExceeded);
    cluster.ask(create("pay", "more", "blue")).expect("the others go on");
    let (namespace, name) = (ns("default"), AliasName::parse("a0").expect("a name"));
    cluster.ask(Command::DeleteAlias { namespace, name }).expect("deleted");
    cluster.ask(create("default", "more", "blue")).expect("there is room again");
    cluster.state.check().expect("whole");
}

#[test]
fn a_decision_about_an_alias_that_has_moved_is_made_again() {
    let mut cluster = with_keys();
    cluster.ask(create("default", "current", "blue")).expect("an alias");
    let command = delete("default", "current");
    let basis = Some(cluster.state.basis(&command, Time::NEVER));
    cluster.ask(update("default", "current", "green")).expect("moved");
    let late = Proposal { basis, ..proposal(root(), command) };
    assert_eq!(why(cluster.propose(late).reply), Some(Reason::Stale));
}

#[test]
fn moving_and_deleting_wait_for_a_fence_and_are_told_to_no_ledger() {
    assert!(update("default", "a", "blue").takes_away() && delete("default", "a").takes_away());
    assert!(!create("default", "a", "blue").takes_away());
    let mut cluster = with_keys();
    cluster.ask(create("default", "current", "blue")).expect("an alias");
    cluster.ask(update("default", "current", "green")).expect("moved");
    assert!(!cluster.state.withdrew(cluster.index));
    cluster.ask(delete("default", "current")).expect("deleted");
    assert!(!cluster.state.withdrew(cluster.index));
}

#[test]
fn the_record_names_both_keys() {
    let mut cluster = with_keys();
    cluster.ask(create("default", "current", "blue")).expect("an alias");
    let command = update("default", "current", "green");
    let basis = Some(cluster.state.basis(&command, Time::NEVER));
    let leaf = cluster.propose(Proposal { basis, ..proposal(root(), command) }).record.expect("a record");
    let text = String::from_utf8_lossy(&leaf.bytes).into_owned();
    for said in ["namespaces/default/aliases/current", "KeyService.UpdateAlias", "key_before", "blue", "green"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two namespaces' aliases never meet: whatever is done to those of one, the other's stand for what they stood for, and
    /// each lists its own.
    #[test]
    fn two_namespaces_aliases_never_meet(steps in proptest::collection::vec((any::<bool>(), 0u8..3, 0usize..3, any::<bool>()), 0..40)) {
        let mut cluster = with_keys();
        let mut model: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for (pay, verb, name, green) in steps {
            let namespace = if pay { "pay" } else { "default" };
            let (name, of) = (["a", "current", "z"][name], if green { "green" } else { "blue" });
            let held = model.contains_key(&(namespace, name));
            let command = match verb {
                0 => create(namespace, name, of),
                1 => update(namespace, name, of),
                _ => delete(namespace, name),
            };
            prop_assert_eq!(cluster.ask(command).is_ok(), held != (verb == 0));
            match verb {
                0 if held => {}
                0 => drop(model.insert((namespace, name), of)),
                1 => drop(model.get_mut(&(namespace, name)).map(|key| *key = of)),
                _ => drop(model.remove(&(namespace, name))),
            }
            for namespace in ["default", "pay"] {
                let expected: Vec<_> = model.iter().filter(|((ns, _), _)| *ns == namespace).map(|((_, name), key)| ((*name).to_owned(), (*key).to_owned())).collect();
                let listed = cluster.state.aliases(&ns(namespace), None, 100).items;
                let listed: Vec<_> = listed.iter().map(|(name, row)| (name.to_string(), row.key.to_string())).collect();
                prop_assert_eq!(listed, expected);
            }
        }
        roundtrip(&cluster.state);
    }
}
