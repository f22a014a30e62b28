//! A key's life and the ciphertext format.
//!
//! - life: [`key`], [`version`], [`rotation`], [`destruction`], [`usage`], [`settings`], [`labels`], [`algorithm`] — the rows of the replicated state and the rules by which they
//!   change; called from `apply`, so deterministic;
//! - material: [`generate`], [`material`], [`wrapping`] — how a key version is made, wrapped at rest and held in locked memory;
//! - other verbs: [`mac`], [`signature`], [`public`] (`docs/spec/keys.md`);
//! - ciphertext v1 (`docs/spec/ciphertext.md`): [`context`], [`binding`], [`header`], [`unary`], [`stream`],
//!   [`envelope`].
//!
//! It does not decide who may use a key, keeps no key by itself, and reads no clock. Only [`generate`] and signing draw random bytes, and
//! neither is reached from `apply`: elsewhere time, salts and material are arguments.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod algorithm;
pub mod binding;
pub mod context;
pub mod destruction;
pub mod envelope;
pub mod generate;
pub mod header;
pub mod key;
pub mod labels;
pub mod mac;
pub mod material;
pub mod public;
pub mod rotation;
pub mod settings;
pub mod signature;
pub mod stream;
pub mod unary;
pub mod usage;
pub mod version;
pub mod wrapping;

mod derive;
mod refuse;
mod segment;

pub use algorithm::{Algorithm, Primitive, Purpose};
pub use binding::Binding;
pub use context::EncryptionContext;
pub use destruction::ScheduledDestruction;
pub use envelope::EnvelopeHeader;
pub use generate::{DrawFault, NewMaterial};
pub use header::{Ciphertext, HEADER_BYTES, Header, Kind, SALT_BYTES, Suite};
pub use key::Key;
pub use labels::Labels;
pub use mac::{generate_mac, verify_mac};
pub use material::KeyMaterial;
pub use refuse::check_message;
pub use rotation::{Rotation, RotationCause};
pub use settings::{Floors, KeyChange, KeySettings};
pub use signature::{ToSign, asymmetric_decrypt, check_to_sign, sign, verify};
pub use stream::{StreamDecryptor, StreamEncryptor};
pub use unary::{decrypt, encrypt, re_encrypt};
pub use usage::{LimitsChange, Usage, UsageChange, UsageLevel, UsageLimits, UsagePolicy, VersionUsage};
pub use version::{KeyVersion, VersionState, WrappedMaterial};
pub use wrapping::WrappingFault;
