//! An operator: a key in an identity folder, used by clients in this process and by the command line alike.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use chancery_client::identity::{Folder, Profile, Protection};
use chancery_client::tls::Identity;
use crypto::sign::P256Signer;
use types::{ClusterId, SpkiHash, Time};

use super::Node;

/// Somebody with a key, enrolled or not.
pub(crate) struct Operator {
    name: String,
    folder: Folder,
    signer: P256Signer,
}

impl Operator {
    /// Draws a key and keeps it in that folder.
    pub(crate) fn new(path: &Path, name: &str) -> Self {
        let folder = Folder::create(path).expect("a folder");
        let signer = folder.create_key(&Protection::DangerousUnencrypted).expect("a key");
        Self { name: name.to_owned(), folder, signer }
    }

    /// For example `operators/root`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The identity folder, for the command line.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The public key, DER.
    pub(crate) fn spki(&self) -> Vec<u8> {
        self.signer.spki_der()
    }

    /// What a client presents.
    pub(crate) fn identity(&self) -> Identity {
        Identity::self_signed(&self.signer, &self.name, now()).expect("an identity")
    }

    /// Notes in the folder which cluster the key is enrolled in.
    pub(crate) fn belongs_to(&mut self, cluster_id: ClusterId, cluster_key_hash: SpkiHash, nodes: &[Node]) {
        let endpoints = nodes.iter().map(Node::api).collect();
        let profile = Profile { name: self.name.clone(), cluster_id, cluster_key_hash, endpoints };
        self.folder.write_profile(&profile).expect("writes");
    }
}

/// The clock of this machine.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Time(u64::try_from(since.as_millis()).expect("fits"))
}
