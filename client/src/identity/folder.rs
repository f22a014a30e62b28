//! One identity folder on disk.

use std::path::{Path, PathBuf};

use crypto::sign::P256Signer;
use serde::{Deserialize, Serialize};
use types::{ClusterId, SpkiHash};

use super::IdentityError;
use super::key_file::{Passphrase, Protection, open_key, seal_key};
use crate::Address;
use crate::private_file::{self, FileError};
use crate::trust::TrustCache;

const KEY_FILE: &str = "operator.key";
const PROFILE_FILE: &str = "identity.json";
const TRUST_FILE: &str = "trust.json";

/// A folder whose mode has been checked.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// `identity.json`: whose identity this is and where its cluster is. Nothing in it is secret, but it decides whom we
/// trust.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// For example `operators/root` or `agents/dev`.
    pub name: String,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// SHA-256 of the cluster key's SubjectPublicKeyInfo: the only thing that is pinned.
    pub cluster_key_hash: SpkiHash,
    /// Where to look when nothing else is said.
    pub endpoints: Vec<Address>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredProfile {
    name: String,
    cluster_id: String,
    cluster_key_hash: String,
    endpoints: Vec<Address>,
}

impl Folder {
    /// Opens a folder that is there.
    ///
    /// # Errors
    /// When it is missing, somebody else's, or open to others.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, FileError> {
        let path = path.into();
        private_file::check_folder(&path)?;
        Ok(Self(path))
    }

    /// Makes the folder with mode 0700, or opens it.
    ///
    /// # Errors
    /// As [`Folder::open`], or when it cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, FileError> {
        let path = path.into();
        private_file::create_folder(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether a key is there.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.0.join(KEY_FILE).exists()
    }

    /// Draws a key and writes it. A key that is there is never replaced.
    ///
    /// # Errors
    /// When one is there, or it cannot be written.
    pub fn create_key(&self, protection: &Protection<'_>) -> Result<P256Signer, IdentityError> {
        let signer = P256Signer::generate();
        let text = seal_key(&signer, protection)?;
        private_file::write_new(&self.0.join(KEY_FILE), text.as_bytes())?;
        Ok(signer)
    }

    /// Reads the key.
    ///
    /// # Errors
    /// When it is missing, loose, or does not open.
    pub fn read_key(&self, passphrase: &dyn Passphrase) -> Result<P256Signer, IdentityError> {
        let text = zeroize::Zeroizing::new(private_file::read(&self.0.join(KEY_FILE))?);
        Ok(open_key(&text, passphrase)?)
    }

    /// Whose identity this is; `None` when the key has not been enrolled anywhere yet.
    ///
    /// # Errors
    /// When the file is damaged or loose.
    pub fn profile(&self) -> Result<Option<Profile>, FileError> {
        let path = self.0.join(PROFILE_FILE);
        let content = match private_file::read(&path) {
            Ok(content) => content,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let stored: StoredProfile =
            serde_json::from_slice(&content).map_err(|error| FileError::damaged(&path, error))?;
        let damaged = |field: &str| FileError::damaged(&path, format!("`{field}` is not lowercase hexadecimal"));
        Ok(Some(Profile {
            name: stored.name,
            cluster_id: ClusterId::from_hex(&stored.cluster_id).ok_or_else(|| damaged("cluster_id"))?,
            cluster_key_hash: SpkiHash::from_hex(&stored.cluster_key_hash)
                .ok_or_else(|| damaged("cluster_key_hash"))?,
            endpoints: stored.endpoints,
        }))
    }

    /// Writes `identity.json`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_profile(&self, profile: &Profile) -> Result<(), FileError> {
        let path = self.0.join(PROFILE_FILE);
        let stored = StoredProfile {
            name: profile.name.clone(),
            cluster_id: profile.cluster_id.to_hex(),
            cluster_key_hash: profile.cluster_key_hash.to_hex(),
            endpoints: profile.endpoints.clone(),
        };
        let text = serde_json::to_vec_pretty(&stored).map_err(|error| FileError::damaged(&path, error))?;
        private_file::write(&path, &text)
    }

    /// The cached trust document.
    #[must_use]
    pub fn trust_cache(&self) -> TrustCache {
        TrustCache::at(self.0.join(TRUST_FILE))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    }

    fn none() -> Result<crypto::SecretBytes, String> {
        Err("none".to_owned())
    }

    #[test]
    fn a_folder_keeps_key_and_profile() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = Folder::create(base.path().join("admin")).expect("creates");
        assert!(!folder.has_key());
        assert_eq!(folder.profile().expect("no profile is no error"), None);
        let signer = folder.create_key(&Protection::DangerousUnencrypted).expect("creates");
        assert!(folder.create_key(&Protection::DangerousUnencrypted).is_err(), "a key is never replaced");
        let profile = Profile {
            name: "operators/root".to_owned(),
            cluster_id: ClusterId([1; 16]),
            cluster_key_hash: SpkiHash([2; 32]),
            endpoints: vec![Address::parse("127.0.0.1:7443").expect("an address")],
        };
        folder.write_profile(&profile).expect("writes");

        let again = Folder::open(folder.path()).expect("opens");
        assert_eq!(again.read_key(&none).expect("reads").spki_der(), signer.spki_der());
        assert_eq!(again.profile().expect("reads"), Some(profile));
    }

    #[test]
    fn looser_modes_are_refused() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = Folder::create(base.path().join("admin")).expect("creates");
        folder.create_key(&Protection::DangerousUnencrypted).expect("creates");
        chmod(&folder.path().join(KEY_FILE), 0o644);
        let refused = folder.read_key(&none).expect_err("loose key");
        assert!(matches!(refused, IdentityError::File(FileError::LooseMode { .. })), "{refused}");
        chmod(folder.path(), 0o755);
        assert!(matches!(Folder::open(folder.path()), Err(FileError::LooseMode { .. })));
        assert!(matches!(Folder::create(folder.path()), Err(FileError::LooseMode { .. })));
    }

    #[test]
    fn a_damaged_profile_is_named() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = Folder::create(base.path().join("admin")).expect("creates");
        private_file::write(&folder.path().join(PROFILE_FILE), b"{\"name\": 1}").expect("writes");
        let error = folder.profile().expect_err("damaged").to_string();
        assert!(error.contains("identity.json") && error.contains("damaged"), "{error}");
    }
}
