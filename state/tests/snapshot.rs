//! A state's bytes: what is written is what is read, damage is found, and the format does not move by accident.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

mod common;

use common::{Cluster, FORMED, request_id};
use expect_test::expect;
use state::{Command, SnapshotError, State, read_snapshot, write_snapshot};
use types::{KeyId, KeyName, Millis, NamespaceName};

fn some_state() -> State {
    let mut cluster = Cluster::formed();
    let command = Command::CreateKey {
        namespace: NamespaceName::default_namespace(),
        name: KeyName::parse("orders").expect("a name"),
        id: KeyId([8; 16]),
        algorithm: kms::Algorithm::Aes256Gcm,
        rotation_period: Some(Millis::from_hours(2)),
        wrapped: vec![9; 81],
    };
    cluster.ask_as(request_id(FORMED, 1), 1, command).expect("a key");
    let name = KeyName::parse("orders").expect("a name");
    let namespace = NamespaceName::default_namespace();
    cluster.ask(Command::SetKeyEnabled { namespace, name, version: None, enabled: false }).expect("disabled");
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
        824 bytes
        sha256 c673905da2fdb832031e5f9c6bbf3b5ce878e3324fbfd3a93ee179866f7f0986
        begins 4348595354415401000000c101010101010101010101010101010101010b6578616d706c652e6f72675b02020202020202020202020202020202020202020202"#]].assert_eq(&format!("{} bytes\nsha256 {digest}\nbegins {head}", bytes.len()));
}
