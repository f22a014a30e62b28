//! What keys are for, as it is typed and printed.

use std::sync::LazyLock;

use chancery_client::proto::kms::v1 as kms;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use crate::output::Show;

/// `AES_256_GCM`
pub(crate) fn algorithm_name(algorithm: kms::Algorithm) -> String {
    algorithm.as_str_name().trim_start_matches("ALGORITHM_").to_owned()
}

/// What may be typed for an algorithm: `aes-256-gcm`.
pub(crate) fn algorithms() -> PossibleValuesParser {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let typed = |algorithm| algorithm_name(algorithm).to_lowercase().replace('_', "-");
        (1..).map_while(|number| kms::Algorithm::try_from(number).ok()).map(typed).collect()
    });
    PossibleValuesParser::new(NAMES.iter().map(String::as_str))
}

/// What was typed, of those.
pub(crate) fn parse_algorithm(typed: &str) -> kms::Algorithm {
    let name = format!("ALGORITHM_{}", typed.to_uppercase().replace('-', "_"));
    kms::Algorithm::from_str_name(&name).unwrap_or_default()
}

/// What a key is for, in words.
pub(crate) const fn purpose_words(purpose: kms::Purpose) -> &'static str {
    match purpose {
        kms::Purpose::EncryptDecrypt => "encrypt and decrypt",
        kms::Purpose::Mac => "make and check MACs",
        kms::Purpose::SignVerify => "sign and verify",
        kms::Purpose::AsymmetricDecrypt => "decrypt what others encrypt to its public key",
        kms::Purpose::Unspecified => "-",
    }
}

/// The public half of a version.
#[derive(Serialize)]
pub(crate) struct PublicKeyView {
    name: String,
    version: u32,
    state: String,
    algorithm: String,
    pem: String,
    /// A JSON Web Key.
    jwk: serde_json::Value,
    #[serde(skip)]
    words: String,
}

impl PublicKeyView {
    pub(crate) fn new(wire: &kms::PublicKey, words: String) -> Self {
        let algorithm = algorithm_name(wire.algorithm());
        let (pem, jwk) = (wire.pem.clone(), serde_json::from_str(&wire.jwk).unwrap_or_default());
        let state = wire.state().as_str_name().trim_start_matches("VERSION_STATE_").to_owned();
        Self { name: wire.name.clone(), version: wire.version, state, algorithm, pem, jwk, words }
    }
}

impl Show for PublicKeyView {
    fn text(&self) -> String {
        self.words.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_can_be_typed_as_it_is_printed() {
        let all: Vec<_> = (1..).map_while(|number| kms::Algorithm::try_from(number).ok()).collect();
        assert_eq!(all.len(), 17);
        for algorithm in all {
            let printed = algorithm_name(algorithm).replace('_', "-");
            assert_eq!(parse_algorithm(&printed.to_lowercase()), algorithm);
        }
    }
}
