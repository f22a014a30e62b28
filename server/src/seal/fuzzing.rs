//! Doors for `fuzz/` to `seal.json` and to shares. Only with `--cfg fuzzing`.

use std::path::Path;

use crypto::Secret;
use types::ClusterId;

use super::record::SealRecord;
use super::shamir::draw;
use super::slot::{Offer, Parameters, Place};
use super::{NewSeal, seal, unseal};
use crate::folder::Folder;
use crate::root::Root;

const CLUSTER: ClusterId = ClusterId([3; 16]);

/// `seal.json` as somebody left it in that folder: read, asked everything, offered what opens nothing, changed. What it is when written again.
#[must_use]
pub fn seal_record(folder: &Path, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut record: SealRecord = serde_json::from_slice(bytes).ok()?;
    let folder = Folder::open(folder).expect("opens");
    let place = Place { folder: &folder, cluster: CLUSTER, token: None };
    let wrong = Secret::from_bytes([9; 32]);
    for offer in [Offer::Nothing, Offer::Private(&wrong)] {
        assert!(unseal(&record, place, offer).is_err(), "a seal whose key nobody has opens");
    }
    let _ = (record.kinds(), record.active_epoch(), record.epochs(), record.root_names(), record.staged());
    for quorum in record.quorums() {
        let _ = quorum.to_wire();
        for text in ["chs1.", "chs1.AAAA"] {
            assert!(quorum.recognise(CLUSTER, text).is_err());
        }
    }
    let again = serde_json::to_vec(&record).ok()?;
    let root = Root::draw(1).expect("locks");
    if let Ok((quorum, _)) = draw(CLUSTER, 2, 2) {
        let _ = record.add(Parameters::Shamir { quorum }, [&root], None);
    }
    let _ = record.drop_slot(1);
    Some(again)
}

/// One of each kind that needs no token.
#[must_use]
pub fn write_seal_records(path: &Path) -> Vec<Vec<u8>> {
    let folder = Folder::open(path).expect("opens");
    let root = Root::draw(1).expect("locks");
    let (quorum, _) = draw(CLUSTER, 2, 3).expect("draws");
    let kinds = [NewSeal::Passphrase(b"correct horse battery"), NewSeal::Quorum(quorum), NewSeal::File];
    let made = kinds.into_iter().map(|with| {
        let place = Place { folder: &folder, cluster: CLUSTER, token: None };
        seal(place, with, &root).expect("seals");
        let record = super::read(&folder).expect("reads").expect("is there");
        // The key of the seal `file` lies beside it.
        for file in std::fs::read_dir(path).expect("lists") {
            std::fs::remove_file(file.expect("a file").path()).expect("removes");
        }
        serde_json::to_vec(&record).expect("encodes")
    });
    made.collect()
}

/// A share's text as it is brought, for a seal whose shares nobody has.
#[must_use]
pub fn is_share(text: &str) -> bool {
    static QUORUM: std::sync::OnceLock<super::shamir::Quorum> = std::sync::OnceLock::new();
    let quorum = QUORUM.get_or_init(|| draw(CLUSTER, 2, 3).expect("draws").0);
    quorum.recognise(CLUSTER, text).is_ok()
}

/// Shares of another seal.
#[must_use]
pub fn write_share() -> Vec<u8> {
    let (_, texts) = draw(CLUSTER, 2, 3).expect("draws");
    texts.first().map(|text| text.expose().to_vec()).unwrap_or_default()
}
