//! What unprivileged processes and the cluster send to an agent.

use prost::Message as _;

use crate::engine::Target;

/// A connection to the agent's socket, before the HTTP/2 library sees it: `:authority` is mended, all else passes as it came.
pub(super) const AUTHORITY: Target = Target::new("agent-authority", authority, || {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let frame = |flags: u8, payload: &[u8]| [&[0, 0, payload.len() as u8, 1, flags, 0, 0, 0, 1], payload].concat();
    let plain = frame(4, b"\x41\x0arun%2Fagent\x82\x86");
    let padded = frame(0x2c, b"\x02\0\0\0\0\x10\x00\x0a:authority\x03a%b\0\0");
    vec![
        [&[3], &preface[..], &plain, &padded].concat(),
        [&[200], &preface[..], &frame(0, b"\x40\x85\x01\x02\x03\x04\x05\x7f\xff\xff\xff\xff\x0f")].concat(),
    ]
})
.tokens(&[b"%", b":authority", b"\x00\x00\x20\x01\x2c\x00\x00\x00\x01", b"\x7f\xff\xff\xff\xff\x0f", b"\x41"]);

/// What the cluster tells an agent, and what the kernel tells it of a process.
pub(super) const CLUSTER: Target = Target::new("agent-cluster", cluster, || {
    let entry = ::proto::ca::v1::Entry {
        name: "namespaces/pay/entries/api".into(),
        spiffe_id: "spiffe://example.org/ns/pay/api".into(),
        selectors: vec!["unix:uid:1000".into()],
        ..Default::default()
    };
    let bundle = ::proto::ca::v1::Bundle { trust_domain: "example.org".into(), sequence: 7, ..Default::default() };
    let watch = ::proto::ca::v1::WatchResponse { bundle: Some(bundle), entries: vec![entry], ..Default::default() };
    vec![
        [&[0][..], &watch.encode_to_vec()].concat(),
        b"\x01\x0a\x01\x00\x12\x06\x08\xff\xff\xff\xff\x0f".to_vec(),
        b"\x02Name:\ta\nUid:\t0\t1\t2\t3\nGid:\t0\t1\t2\t3\nGroups:\t4 5\n".to_vec(),
    ]
});

fn authority(input: &[u8]) {
    let Some((piece, bytes)) = input.split_first() else { return };
    let mended = ::agent::fuzzing::mended(bytes, bytes.len());
    assert_eq!(
        mended,
        ::agent::fuzzing::mended(bytes, usize::from(*piece)),
        "what arrives in pieces is another connection"
    );
    let same = |(now, before): (&u8, &u8)| now == before || (*before, *now) == (b'%', b'-');
    assert!(mended.len() == bytes.len() && mended.iter().zip(bytes).all(same), "more than a percent sign was changed");
}

fn cluster(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 3 {
        0 => {
            let state = ::proto::ca::v1::WatchResponse::decode(bytes);
            let _ = state.ok().map(|state| {
                let most = state.entries.len();
                assert!(::agent::fuzzing::snapshot(state).is_none_or(|read| read <= most));
            });
        }
        1 => drop(::proto::ca::v1::IssueX509SvidResponse::decode(bytes).ok().and_then(::agent::fuzzing::issued)),
        _ => drop(super::text(bytes).map(::agent::fuzzing::credentials)),
    }
}
