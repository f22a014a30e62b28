//! Identity folders: the key of an operator or an agent, which cluster it belongs to, and whom that cluster vouches for.
//!
//! ```text
//! operator.key    the private key: encrypted under a passphrase, or plain where that was asked for by its dangerous name
//! identity.json   name, cluster id, hash of the cluster key, endpoints
//! trust.json      the newest trust document seen
//! ```
//! The folder has mode 0700 and the files 0600; looser modes are refused. The key is made here and never leaves.

mod folder;
mod key_file;

pub use folder::{Folder, Profile};
pub use key_file::{KeyFileError, Passphrase, Protection, open_key, seal_key};

use crate::private_file::FileError;

/// An identity folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file in it.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}
