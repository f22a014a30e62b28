//! The Shamir seal: a private key that exists only as shares, any `threshold` of which open every node of the cluster.
//!
//! What is shared is an X25519 key, and the root key lies in a sealed box for it. So a node that joins, or a later root
//! key, is sealed with the public half alone: nobody has to bring shares together for it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crypto::shamir::{self, Share, ShareFault};
use crypto::{Secret, SecretBytes, sealed_box};
use proto::cluster::v1 as wire;
use serde::{Deserialize, Serialize};
use types::{ClusterId, Reason, Refusal, limits};

use super::SealError;
use super::hex::Hex;
use super::slot::{Offer, Place, Seal};

/// What a share's text begins with.
const PREFIX: &str = "chs1.";

/// What all nodes with this seal have in common; nothing in it is secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quorum {
    /// Tells shares of this seal from others: 16 random bytes, hexadecimal.
    pub id: String,
    /// How many shares open it.
    pub threshold: u8,
    /// The X25519 public key.
    pub recipient: Hex<32>,
    /// For each share, by index from 1, the SHA-256 by which it is recognised, hexadecimal.
    pub verifiers: Vec<String>,
}

/// A share that cannot be taken. Each is told to whoever brought it, who may have another at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ShareRefused {
    /// Not the text of a share.
    #[error("that is not a share: it begins with `chs1.` and is one line without spaces")]
    Malformed,
    /// Of another seal.
    #[error("that share is of another cluster or of an older set of shares")]
    OtherSeal,
    /// It was changed.
    #[error("that share is damaged: compare it with how it was handed out")]
    Damaged,
}

/// What a share's text holds: all that it takes to say what is wrong with one.
#[derive(Serialize, Deserialize)]
struct Text {
    cluster: [u8; 16],
    quorum: [u8; 16],
    index: u8,
    value: [u8; shamir::VALUE_BYTES],
}

/// Draws a key, and splits it. The texts are handed out once and kept nowhere.
///
/// # Errors
/// [`ShareFault::Threshold`].
pub(crate) fn draw(cluster: ClusterId, threshold: u8, shares: u8) -> Result<(Quorum, Vec<SecretBytes>), ShareFault> {
    let (private, id) = (crypto::entropy::secret::<32>(), crypto::entropy::array::<16>());
    let shares = shamir::split(&private, threshold, shares)?;
    let recipient = sealed_box::public_of(&private).map_err(|_| ShareFault::TooFew)?;
    let quorum = Quorum {
        id: ::hex::encode(id),
        threshold,
        recipient: Hex(recipient),
        verifiers: shares.iter().map(|share| ::hex::encode(verifier(&id, share))).collect(),
    };
    Ok((quorum, shares.iter().map(|share| text(cluster, id, share)).collect()))
}

/// Draws a key for a new set of shares and splits it, for whoever asks a cluster to use them: the public half to send, and
/// the text of each share, which nobody else has seen.
///
/// # Errors
/// [`ShareFault::Threshold`]; [`ShareFault::TooFew`] when the shares do not give the key back, which has never happened.
pub fn new_shares(
    cluster: ClusterId,
    threshold: u8,
    shares: u8,
) -> Result<(wire::ShamirSeal, Vec<SecretBytes>), ShareFault> {
    let (quorum, texts) = draw(cluster, threshold, shares)?;
    // Looked at before anything rests on it: shares that open nothing would be noticed when they are needed.
    let recognised = texts.iter().rev().take(usize::from(threshold)).map(|text| {
        let text = std::str::from_utf8(text.expose()).map_err(|_| ShareFault::TooFew)?;
        quorum.recognise(cluster, text).map_err(|_| ShareFault::TooFew)
    });
    let key = quorum.combine(&recognised.collect::<Result<Vec<_>, _>>()?)?;
    match sealed_box::public_of(&key) {
        Ok(public) if public == quorum.recipient.0 => Ok((quorum.to_wire(), texts)),
        _ => Err(ShareFault::TooFew),
    }
}

impl Quorum {
    /// Takes a share's text, if it is one of this seal's.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn recognise(&self, cluster: ClusterId, text: &str) -> Result<Share, ShareRefused> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(ShareRefused::Malformed)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| ShareRefused::Malformed)?;
        let bytes = SecretBytes::from_vec(bytes);
        let (held, rest) = postcard::take_from_bytes::<Text>(bytes.expose()).map_err(|_| ShareRefused::Malformed)?;
        let Text { cluster: of, quorum, index, value } = held;
        let share = Share { index, value: Secret::from_bytes(value) };
        if !rest.is_empty() {
            return Err(ShareRefused::Malformed);
        }
        if of != cluster.0 || ::hex::encode(quorum) != self.id {
            return Err(ShareRefused::OtherSeal);
        }
        let known = usize::from(index).checked_sub(1).and_then(|at| self.verifiers.get(at));
        let known = known.ok_or(ShareRefused::Damaged)?;
        if crypto::constant_time::eq(::hex::encode(verifier(&quorum, &share)).as_bytes(), known.as_bytes()) {
            Ok(share)
        } else {
            Err(ShareRefused::Damaged)
        }
    }

    /// The private key, from enough shares.
    ///
    /// # Errors
    /// [`ShareFault::TooFew`].
    pub(crate) fn combine(&self, shares: &[Share]) -> Result<Secret<32>, ShareFault> {
        shamir::combine(self.threshold, shares)
    }

    /// Whether it can have been made by [`draw`]: what comes from a file or a peer is looked at before it is used.
    pub(crate) fn is_sound(&self) -> bool {
        let shares = self.verifiers.len();
        (usize::from(shamir::THRESHOLD_MIN)..=shares).contains(&usize::from(self.threshold))
            && shares <= usize::from(limits::SEAL_SHARES_MAX)
    }
}

impl Quorum {
    /// Takes the public half that somebody drew elsewhere.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`] when it cannot be one.
    pub(crate) fn from_wire(seal: &wire::ShamirSeal) -> Result<Self, Refusal> {
        let wire::ShamirSeal { id, threshold, recipient, verifiers } = seal;
        let malformed = || Refusal::new(Reason::InvalidArgument, "this is not the public half of a shamir seal");
        let id: [u8; 16] = id.as_slice().try_into().map_err(|_| malformed())?;
        let recipient: [u8; sealed_box::PUBLIC_BYTES] = recipient.as_slice().try_into().map_err(|_| malformed())?;
        // A key that nothing can be sealed for would be found out when it is too late.
        sealed_box::seal(&recipient, b"", b"").map_err(|_| malformed())?;
        let quorum = Self {
            id: ::hex::encode(id),
            threshold: u8::try_from(*threshold).map_err(|_| malformed())?,
            recipient: Hex(recipient),
            verifiers: verifiers.iter().map(::hex::encode).collect(),
        };
        let whole = verifiers.iter().all(|verifier| verifier.len() == 32);
        if whole && quorum.is_sound() { Ok(quorum) } else { Err(malformed()) }
    }

    /// The same on its way to a node.
    #[must_use]
    pub(crate) fn to_wire(&self) -> wire::ShamirSeal {
        let bytes = |text: &String| ::hex::decode(text).unwrap_or_default();
        wire::ShamirSeal {
            id: bytes(&self.id),
            threshold: self.threshold.into(),
            recipient: self.recipient.0.to_vec(),
            verifiers: self.verifiers.iter().map(bytes).collect(),
        }
    }
}

impl Seal for Quorum {
    fn kind(&self) -> &'static str {
        "shamir"
    }

    fn recipient(&self) -> [u8; 32] {
        self.recipient.0
    }

    fn private_key(&self, _place: Place<'_>, offer: Offer<'_>) -> Result<Option<Secret<32>>, SealError> {
        Ok(match offer {
            Offer::Private(key) => Some(Secret::from_bytes(*key.expose())),
            Offer::Nothing | Offer::Passphrase(_) => None,
        })
    }
}

fn text(cluster: ClusterId, quorum: [u8; 16], share: &Share) -> SecretBytes {
    let held = Text { cluster: cluster.0, quorum, index: share.index, value: *share.value.expose() };
    let bytes = SecretBytes::from_vec(postcard::to_stdvec(&held).unwrap_or_default());
    let mut text = SecretBytes::with_capacity(PREFIX.len() + bytes.len() * 2);
    text.extend_from_slice(PREFIX.as_bytes());
    text.extend_from_slice(SecretBytes::from_vec(URL_SAFE_NO_PAD.encode(bytes.expose()).into_bytes()).expose());
    text
}

/// 32 random bytes cannot be guessed from their hash.
fn verifier(quorum: &[u8; 16], share: &Share) -> [u8; 32] {
    crypto::hash::sha256(&[b"chancery seal share v1".as_slice(), quorum, &[share.index], share.value.expose()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([3; 16]);

    fn drawn() -> (Quorum, Vec<String>) {
        let (quorum, texts) = draw(CLUSTER, 2, 3).expect("draws");
        let texts = texts.iter().map(|text| String::from_utf8(text.expose().to_vec()).expect("text")).collect();
        (quorum, texts)
    }

    #[test]
    fn enough_shares_open_what_the_public_half_sealed() {
        let (quorum, texts) = drawn();
        let boxed = sealed_box::seal(&quorum.recipient.0, b"place", b"root").expect("seals");
        for pair in [[0, 1], [2, 0], [1, 2]] {
            let shares = pair.map(|at| quorum.recognise(CLUSTER, &format!(" {}\n", texts[at])).expect("is known"));
            let key = quorum.combine(&shares).expect("combines");
            assert_eq!(sealed_box::open(&key, b"place", &boxed).expect("opens").expose(), b"root");
        }
        let one = quorum.recognise(CLUSTER, &texts[0]).expect("is known");
        assert_eq!(quorum.combine(&[one]).map(drop), Err(ShareFault::TooFew));
    }

    #[test]
    fn a_share_that_is_not_one_says_so_by_itself() {
        let (quorum, texts) = drawn();
        let (_, others) = drawn();
        let refused = |text: &str| quorum.recognise(CLUSTER, text).map(drop);
        assert_eq!(refused("correct horse"), Err(ShareRefused::Malformed));
        assert_eq!(refused("chs1.AAAA"), Err(ShareRefused::Malformed));
        assert_eq!(refused(&others[0]), Err(ShareRefused::OtherSeal));
        assert_eq!(quorum.recognise(ClusterId([4; 16]), &texts[0]).map(drop), Err(ShareRefused::OtherSeal));
        // Every character of the text counts.
        for at in PREFIX.len()..texts[0].len() {
            let mut changed = texts[0].clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("text");
            assert!(changed == texts[0] || refused(&changed).is_err(), "character {at}");
        }
        assert_eq!(refused(&texts[0]), Ok(()));
    }

    #[test]
    fn what_is_stored_is_no_share() {
        let (quorum, texts) = drawn();
        let stored = serde_json::to_string(&quorum).expect("encodes");
        for text in texts {
            let share = quorum.recognise(CLUSTER, &text).expect("is known");
            assert!(!stored.contains(&::hex::encode(share.value.expose())));
        }
        assert!(quorum.is_sound());
        assert!(!Quorum { threshold: 1, ..quorum.clone() }.is_sound());
        assert!(!Quorum { threshold: 4, ..quorum }.is_sound());
    }
}
