//! An X.509-SVID and its private key, checked before any workload can see it: the chain verifies against the bundle,
//! its SPIFFE ID is the entry's, and the key is the leaf's. Third-party clients do not check the last two themselves.

use ca::Bundles;
use crypto::SecretBytes;
use crypto::sign::P256Signer;
use rustls::pki_types::CertificateDer;
use types::{Millis, Time};

use crate::upstream::{Content, Issued, UpstreamError};

/// A certificate and its key, which belong together. A view holds one only if its bundle vouches for it.
#[derive(Debug)]
pub(crate) struct Svid {
    content: Content,
    /// DER, leaf first.
    chain: Vec<Vec<u8>>,
    /// PKCS#8 DER, unencrypted, as the Workload API wants it.
    key: SecretBytes,
    renew: Time,
    expires: Time,
}

/// A key that waits for its certificate. The private half stays here.
pub(crate) struct Request {
    signer: P256Signer,
    content: Content,
}

impl Request {
    /// Draws a key for a certificate of that content.
    pub(crate) fn new(content: Content) -> Self {
        Self { signer: P256Signer::generate(), content }
    }

    /// The signing request (PKCS#10, DER): a public key and the proof that its private half is held.
    ///
    /// # Errors
    /// When the encoder fails.
    pub(crate) fn csr(&self) -> Result<Vec<u8>, UpstreamError> {
        ca::csr::certificate_request(&self.signer).map_err(|fault| UpstreamError::Unusable(fault.to_string()))
    }

    /// Joins the key with the certificate that came back for it; [`Svid::verify`] judges the rest. `spread` is a random
    /// byte: it places the renewal within ±10 % of the half-life.
    ///
    /// # Errors
    /// When the certificate is over another key.
    pub(crate) fn finish(self, issued: Issued, now: Time, spread: u8) -> Result<Svid, UpstreamError> {
        let unusable = |why: String| UpstreamError::Unusable(why);
        let leaf = issued.chain.first().ok_or_else(|| unusable("no certificate was sent".to_owned()))?;
        let key = ca::spki_hash_of_cert(leaf).map_err(|fault| unusable(fault.to_string()))?;
        if key != ca::spki_hash(&self.signer.spki_der()) {
            return Err(unusable("the certificate is over another key than the one sent".to_owned()));
        }
        Ok(Svid {
            content: self.content,
            key: self.signer.to_pkcs8(),
            renew: renewal(now, issued.expires, spread),
            expires: issued.expires,
            chain: issued.chain,
        })
    }
}

impl Svid {
    /// Whether the bundle vouches for it now, under the id of its entry.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn verify(&self, anchors: &Bundles, now: Time) -> Result<(), UpstreamError> {
        if now >= self.expires {
            return Err(UpstreamError::Unusable("the certificate has expired".to_owned()));
        }
        let chain: Vec<_> = self.chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let id = ca::verify_peer(&chain, anchors, now)
            .map_err(|why| UpstreamError::Unusable(format!("the certificate does not verify: {why}")))?;
        if id == self.content.spiffe_id {
            Ok(())
        } else {
            Err(UpstreamError::Unusable(format!("the certificate is for `{id}`, not `{}`", self.content.spiffe_id)))
        }
    }

    /// What it says.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// The chain, concatenated DER, leaf first.
    pub(crate) fn chain_der(&self) -> Vec<u8> {
        self.chain.concat()
    }

    /// Its private key, PKCS#8 DER.
    pub(crate) fn key(&self) -> &SecretBytes {
        &self.key
    }

    /// When to ask for the next one.
    pub(crate) fn renew(&self) -> Time {
        self.renew
    }

    /// When it stops being valid.
    pub(crate) fn expires(&self) -> Time {
        self.expires
    }
}

/// Half-life, ±10 % of it: agents that started together do not renew together.
fn renewal(now: Time, expires: Time, spread: u8) -> Time {
    let life = expires.since(now).0;
    let tenth_steps = u64::from(spread); // 0..=255 over 20 % of the half-life
    Time(now.0.saturating_add(life / 2 - life / 20 + life / 10 * tenth_steps / 255)).min(expires.before(Millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_at_half_life_within_a_tenth() {
        let (now, expires) = (Time(1_000_000), Time(1_000_000 + 3_600_000));
        assert_eq!(renewal(now, expires, 0), Time(1_000_000 + 1_620_000));
        assert_eq!(renewal(now, expires, 255), Time(1_000_000 + 1_980_000));
        let middle = renewal(now, expires, 127).since(now).0;
        assert!((1_790_000..1_810_000).contains(&middle), "{middle}");
        assert!(renewal(now, now, 255) <= now);
    }
}
