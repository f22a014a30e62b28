//! The newest trust document seen, on disk: so that a client pins from the first byte of its next run, and cannot be
//! shown an older one.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::cluster::v1 as wire;
use serde::{Deserialize, Serialize};
use types::SpkiHash;

use super::{TrustDocument, TrustError};
use crate::private_file::{self, FileError};

/// One file, `trust.json`. What is in it is verified again on every read.
#[derive(Clone, Debug)]
pub struct TrustCache(PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    statement: String,
    signature: String,
    cluster_spki: String,
}

const VERSION: u32 = 1;

impl TrustCache {
    /// The cache at that path, which need not exist yet.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The document in it; `None` when there is no file.
    ///
    /// # Errors
    /// When the file is damaged, loose, or another cluster's. It is not thrown away silently: with it goes the memory of
    /// which document is too old.
    pub fn load(&self, pinned: SpkiHash) -> Result<Option<TrustDocument>, TrustError> {
        let content = match private_file::read(&self.0) {
            Ok(content) => content,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let wire = self.parse(&content)?;
        TrustDocument::verify(wire, pinned).map(Some)
    }

    /// Keeps the document, unless a newer one is there.
    ///
    /// # Errors
    /// When the one that is there is newer, or the file cannot be read or written.
    pub fn store(&self, document: &TrustDocument, pinned: SpkiHash) -> Result<(), TrustError> {
        if let Some(seen) = self.load(pinned)? {
            document.check_not_older_than(&seen)?;
            if document.statement() == seen.statement() {
                return Ok(());
            }
        }
        let wire = document.wire();
        let stored = Stored {
            version: VERSION,
            statement: STANDARD.encode(&wire.statement),
            signature: STANDARD.encode(&wire.signature),
            cluster_spki: STANDARD.encode(&wire.cluster_spki),
        };
        let text = serde_json::to_vec_pretty(&stored).map_err(|error| FileError::damaged(&self.0, error))?;
        Ok(private_file::write(&self.0, &text)?)
    }

    fn parse(&self, content: &[u8]) -> Result<wire::TrustDocument, FileError> {
        let stored: Stored = serde_json::from_slice(content).map_err(|error| FileError::damaged(&self.0, error))?;
        if stored.version != VERSION {
            return Err(FileError::damaged(&self.0, format!("its version is {}, not {VERSION}", stored.version)));
        }
        let bytes = |text: &str| STANDARD.decode(text).map_err(|error| FileError::damaged(&self.0, error));
        Ok(wire::TrustDocument {
            statement: bytes(&stored.statement)?,
            signature: bytes(&stored.signature)?,
            cluster_spki: bytes(&stored.cluster_spki)?,
        })
    }
}
