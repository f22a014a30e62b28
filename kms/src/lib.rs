//! A key's life and the ciphertext format.
//!
//! - life: [`key`], [`version`], [`rotation`], [`algorithm`] — the rows of the replicated state and the rules by which they
//!   change; called from `apply`, so deterministic;
//! - material: [`material`], [`wrapping`] — how a key version is wrapped at rest and held in locked memory;
//! - ciphertext v1 (`docs/spec/ciphertext.md`): [`context`], [`binding`], [`header`], [`unary`], [`stream`],
//!   [`envelope`].
//!
//! It does not decide who may use a key, keeps no key by itself, and neither reads a clock nor draws random bytes: time,
//! salts and material are arguments.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod algorithm;
pub mod binding;
pub mod context;
pub mod envelope;
pub mod header;
pub mod key;
pub mod material;
pub mod rotation;
pub mod stream;
pub mod unary;
pub mod version;
pub mod wrapping;

mod derive;
mod refuse;
mod segment;

pub use algorithm::Algorithm;
pub use binding::Binding;
pub use context::EncryptionContext;
pub use envelope::EnvelopeHeader;
pub use header::{Ciphertext, HEADER_BYTES, Header, Kind, SALT_BYTES};
pub use key::Key;
pub use material::KeyMaterial;
pub use rotation::{Rotation, RotationCause};
pub use stream::{StreamDecryptor, StreamEncryptor};
pub use unary::{decrypt, encrypt, re_encrypt};
pub use version::{KeyVersion, VersionState};
pub use wrapping::WrappingFault;
