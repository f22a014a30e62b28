//! The one rustls provider: aws-lc-rs, TLS 1.3 only, post-quantum key exchange preferred.
//!
//! Certificates, verifiers and sockets are the edges' affair.

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The provider for every client and server configuration.
///
/// TLS 1.3 suites only: no renegotiation, no static RSA, no CBC, and both ends are ours or modern. X25519MLKEM768 first,
/// so that traffic recorded today stays closed to a quantum computer of tomorrow; if ML-KEM should fall, X25519 still
/// holds, for the session key depends on both.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        Arc::new(provider)
    }))
}

/// Makes [`provider`] the process default. Call it first in every binary and test: with two providers in the dependency
/// graph the implicit choice panics. Calling it again changes nothing.
pub fn install_provider() {
    // An error means that a default is there already, which is what was asked for.
    let _already = CryptoProvider::clone(&provider()).install_default();
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    #[test]
    fn tls_1_3_only_and_hybrid_key_exchange_first() {
        let provider = provider();
        assert!(!provider.cipher_suites.is_empty());
        assert!(provider.cipher_suites.iter().all(|suite| suite.tls13().is_some()));
        let groups: Vec<_> = provider.kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups.first(), Some(&NamedGroup::X25519MLKEM768));
        assert!(groups.contains(&NamedGroup::X25519) && groups.contains(&NamedGroup::secp256r1));
    }

    #[test]
    fn installing_twice_is_harmless() {
        install_provider();
        install_provider();
        let groups = &CryptoProvider::get_default().expect("installed").kx_groups;
        assert_eq!(groups.first().map(|group| group.name()), Some(NamedGroup::X25519MLKEM768));
    }
}
