//! A state's bytes: what is written is what is read, damage is found, and the format does not move by accident.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use crate::common::{Cluster, FORMED, proposal, request_id};
use expect_test::expect;
use state::{Command, EntryBody, JoinKind, NodeReport, SnapshotError, State, read_snapshot, write_snapshot};
use types::{AgentName, EntryName, KeyId, KeyName, Millis, NamespaceName, NodeId, Principal, SpkiHash, TokenId};

fn some_state() -> State {
    let mut cluster = Cluster::formed();
    let command = Command::CreateKey {
        namespace: NamespaceName::default_namespace(),
        name: KeyName::parse("orders").expect("a name"),
        id: KeyId([8; 16]),
        algorithm: kms::Algorithm::Aes256Gcm,
        settings: kms::KeySettings::rotating(Some(Millis::from_hours(2))),
        material: kms::WrappedMaterial::secret(vec![9; 81]),
    };
    cluster.ask_as(request_id(FORMED, 1), 1, command).expect("a key");
    let name = KeyName::parse("orders").expect("a name");
    let namespace = NamespaceName::default_namespace();
    cluster.ask(Command::SetKeyEnabled { namespace, name, version: None, enabled: false }).expect("disabled");
    let agent = AgentName::parse("edge").expect("a name");
    let expires = FORMED.after(Millis::from_hours(1));
    for (number, kind) in [(1, JoinKind::Agent(agent.clone())), (2, JoinKind::Node)] {
        let id = TokenId([number; 16]);
        cluster.ask(Command::CreateJoinToken { id, secret_hash: [number; 32], kind, expires }).expect("a token");
    }
    let spki = SpkiHash([0x0a; 32]);
    let redeem = Command::RedeemAgentToken { token: TokenId([1; 16]), secret_hash: [1; 32], spki, expires };
    cluster.propose(proposal(Principal::JoinToken, redeem)).reply.expect("enrolled");
    cluster.ask(Command::RevokeAgent { name: agent.clone() }).expect("revoked");
    let body = EntryBody {
        path: "/ns/default/api".to_owned(),
        parent: agent,
        selectors: vec!["unix:uid:1000".to_owned()],
        svid_ttl: Millis::from_hours(1),
        dns_names: Vec::new(),
        hint: String::new(),
    };
    let (namespace, name) = (NamespaceName::default_namespace(), EntryName::parse("api").expect("a name"));
    cluster.ask(Command::CreateEntry { namespace, name, body }).expect("an entry");
    let (node, api_address) = (NodeId(1), "127.0.0.1:7443".to_owned());
    let report = NodeReport { node, clock: FORMED, audit_size: 3, audit_root: [0x0b; 32], api_address, supports: 1 };
    cluster.propose(proposal(Principal::Node(node), Command::ReportNode(report))).reply.expect("reported");
    cluster.state
}

fn written(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    let done = write_snapshot(state, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    done.expect("written");
    bytes
}

#[test]
fn what_is_written_is_read() {
    for state in [State::new(), some_state()] {
        let bytes = written(&state);
        let read = read_snapshot(&mut bytes.as_slice()).expect("reads");
        assert_eq!(read.hash(), state.hash());
        assert_eq!(read.recomputed_hash(), state.hash());
        assert_eq!(written(&read), bytes);
        read.check().expect("whole");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let bytes = written(&some_state());
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        assert!(read_snapshot(&mut damaged.as_slice()).is_err(), "a flipped bit at {place} was not found");
        assert!(read_snapshot(&mut &bytes[..place]).is_err(), "a cut at {place} was not found");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(read_snapshot(&mut longer.as_slice()), Err(SnapshotError::Trailing)));
}

/// The bytes of format version 1. If this fails, stored snapshots of earlier builds no longer read: that needs a new
/// version and a way to read the old one, not a new text here.
#[test]
fn golden_bytes() {
    let bytes = written(&some_state());
    let digest: String = crypto::hash::sha256(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let head: String = bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
    expect![[r#"
        1229 bytes
        sha256 ae99b4b1223bf3e05de74c7f06c909adeff02adc637e263c75d5c6df280af90d
        begins 4348595354415401000000c101010101010101010101010101010101010b6578616d706c652e6f72675b02020202020202020202020202020202020202020202"#]].assert_eq(&format!("{} bytes\nsha256 {digest}\nbegins {head}", bytes.len()));
}
