//! The ciphertext vectors: what they are made from, and the derivation written out a second time.
//!
//! - [`Set`], [`Vector`], [`Bad`]: the files `vectors.json` and `data/*.bin`;
//! - [`cases`]: the inputs, and `cases::generate()`, which makes the same files every time;
//! - [`by_hand`]: `docs/spec/ciphertext.md` step by step from HMAC, SHA-512 and AES-GCM, sharing nothing with `kms`. It gives
//!   the intermediate values, and the ciphertexts that `kms` refuses to make.
#![expect(clippy::expect_used, reason = "a test that cannot go on fails; nothing but tests depends on this crate")]

pub mod by_hand;
pub mod cases;

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// `vectors.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Where the format is specified.
    pub specification: String,
    /// Ciphertexts that open.
    pub vectors: Vec<Vector>,
    /// Ciphertexts that a reader refuses.
    pub refused: Vec<Bad>,
}

/// One ciphertext, what it was made from, and every value on the way. Byte strings are lowercase hexadecimal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Its name.
    pub name: String,
    /// The namespace's resource id.
    pub namespace: String,
    /// The pairs, not necessarily in order.
    pub context: Vec<(String, String)>,
    /// Additional authenticated data.
    pub aad: String,
    /// The material of the key version.
    pub material: String,
    /// The key.
    pub key_id: String,
    /// The key version.
    pub version: u32,
    /// The salt.
    pub salt: String,
    /// For an envelope file: what is wrapped under `material` and keys the segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_key: Option<String>,
    /// The plaintext, or …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<String>,
    /// … its length, if its byte i is i mod 251.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaintext_counting: Option<usize>,
    /// SHA-512 of what the ciphertext is bound to.
    pub d: String,
    /// HKDF-Extract.
    pub prk: String,
    /// What the key is expanded with.
    pub info_enc: String,
    /// What the commitment is expanded with.
    pub info_commit: String,
    /// The message's AES-256-GCM key.
    pub key: String,
    /// The commitment.
    pub commitment: String,
    /// The ciphertext, or …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<String>,
    /// … the file that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ciphertext_file: Option<String>,
}

/// A ciphertext that a reader refuses, although its commitment and tags are right unless `why` says otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bad {
    /// Its name.
    pub name: String,
    /// The rule that it breaks.
    pub why: String,
    /// As in [`Vector`].
    pub namespace: String,
    /// As in [`Vector`].
    pub context: Vec<(String, String)>,
    /// As in [`Vector`].
    pub aad: String,
    /// As in [`Vector`].
    pub material: String,
    /// As in [`Vector`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<String>,
    /// As in [`Vector`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ciphertext_file: Option<String>,
}

/// Every file of the vectors by its name relative to [`folder`].
pub type Files = BTreeMap<String, Vec<u8>>;

/// Where the vectors are kept.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The plaintext of `plaintext_counting`.
#[must_use]
pub fn counting(len: usize) -> Vec<u8> {
    (0..251_u8).cycle().take(len).collect()
}

/// The bytes of a hexadecimal field.
#[must_use]
pub fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).expect("lowercase hexadecimal")
}

/// The ciphertext, from its field or its file.
#[must_use]
pub fn ciphertext(inline: Option<&String>, file: Option<&String>) -> Vec<u8> {
    inline.map_or_else(
        || std::fs::read(folder().join(file.expect("inline or in a file"))).expect("the file is there"),
        |text| bytes(text),
    )
}
