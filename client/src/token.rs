//! The text of a one-time join token: where the cluster is, how to recognise it, and the secret that opens the door.
//!
//! `chy1.` then base64url without padding of: postcard of the fields, then the first four bytes of their SHA-256. The
//! four bytes catch a token that was cut or mistyped; they protect nothing else, for whoever holds a token may write
//! another. Whether it is still good is the cluster's to say: only a hash of the secret is stored there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crypto::Secret;
use serde::{Deserialize, Serialize};
use types::{AgentName, ClusterId, SpkiHash, Time, TokenId};
use zeroize::{Zeroize, Zeroizing};

use crate::Address;

const PREFIX: &str = "chy1.";
const VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;
/// Longest text of a token: sixteen endpoints of the longest kind fit.
const TOKEN_BYTES_MAX: usize = 8 * 1_024;
/// Most endpoints in a token: as many as there can be nodes.
const ENDPOINTS_MAX: usize = types::limits::NODES_MAX;

/// Whom a token admits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TokenKind {
    /// A member of the cluster.
    Node,
    /// The agent of that name.
    Agent(AgentName),
}

/// A one-time join token.
#[derive(Debug)]
pub struct JoinToken {
    /// The cluster that made it.
    pub cluster_id: ClusterId,
    /// Whom it admits.
    pub kind: TokenKind,
    /// API addresses of the cluster's nodes; at least one.
    pub endpoints: Vec<Address>,
    /// SHA-256 of the cluster key's SubjectPublicKeyInfo: what the joiner pins before it says anything.
    pub cluster_key_hash: SpkiHash,
    /// What the cluster finds its record by.
    pub id: TokenId,
    /// What the cluster stores only a hash of.
    pub secret: Secret<32>,
    /// The token is refused from then on.
    pub expires: Time,
}

/// The text is no join token of this format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It starts with something else.
    #[error("this is not a join token: one starts with `chy1.`")]
    NotAToken,
    /// It is cut, mistyped, or not canonical.
    #[error("the join token is damaged: copy the whole of it, or make a new one with `chancery cluster token`")]
    Damaged,
}

#[derive(Serialize, Deserialize)]
struct Fields {
    version: u8,
    cluster_id: ClusterId,
    kind: TokenKind,
    endpoints: Vec<Address>,
    cluster_key_hash: SpkiHash,
    id: TokenId,
    secret: [u8; 32],
    expires: Time,
}

impl Drop for Fields {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl JoinToken {
    /// The text form, wiped when dropped.
    ///
    /// # Errors
    /// [`TokenError::Damaged`] when it names no endpoint, or more than there can be nodes.
    pub fn encode(&self) -> Result<Zeroizing<String>, TokenError> {
        if self.endpoints.is_empty() || self.endpoints.len() > ENDPOINTS_MAX {
            return Err(TokenError::Damaged);
        }
        let fields = Fields {
            version: VERSION,
            cluster_id: self.cluster_id,
            kind: self.kind.clone(),
            endpoints: self.endpoints.clone(),
            cluster_key_hash: self.cluster_key_hash,
            id: self.id,
            secret: *self.secret.expose(),
            expires: self.expires,
        };
        let mut bytes = Zeroizing::new(postcard::to_stdvec(&fields).map_err(|_| TokenError::Damaged)?);
        let check = check_of(&bytes);
        bytes.extend_from_slice(&check);
        Ok(Zeroizing::new(format!("{PREFIX}{}", Zeroizing::new(URL_SAFE_NO_PAD.encode(&*bytes)).as_str())))
    }

    /// Reads the text form. White space around it is ignored.
    ///
    /// # Errors
    /// When it is not exactly what [`JoinToken::encode`] writes.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Damaged);
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Damaged)?);
        let (bytes, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TokenError::Damaged)?;
        if check_of(bytes) != *check {
            return Err(TokenError::Damaged);
        }
        let (fields, rest) = postcard::take_from_bytes::<Fields>(bytes).map_err(|_| TokenError::Damaged)?;
        let known = fields.version == VERSION && rest.is_empty();
        if !known || fields.endpoints.is_empty() || fields.endpoints.len() > ENDPOINTS_MAX {
            return Err(TokenError::Damaged);
        }
        let token = Self {
            cluster_id: fields.cluster_id,
            kind: fields.kind.clone(),
            endpoints: fields.endpoints.clone(),
            cluster_key_hash: fields.cluster_key_hash,
            id: fields.id,
            secret: Secret::from_bytes(fields.secret),
            expires: fields.expires,
        };
        // Postcard takes a number in more than one form, and an address is read in more than one: a token has one text.
        if token.encode()?.as_str() == text { Ok(token) } else { Err(TokenError::Damaged) }
    }
}

fn check_of(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let [a, b, c, d, ..] = crypto::hash::sha256(bytes);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            cluster_id: ClusterId([1; 16]),
            kind: TokenKind::Agent(AgentName::parse("dev").expect("a name")),
            endpoints: vec![Address::parse("127.0.0.1:7443").expect("an address")],
            cluster_key_hash: SpkiHash([2; 32]),
            id: TokenId([3; 16]),
            secret: Secret::from_bytes([4; 32]),
            expires: Time(1_795_358_000_000),
        }
    }

    #[test]
    fn a_token_survives_its_text() {
        let text = token().encode().expect("encodes");
        let again = JoinToken::parse(&format!(" {}\n", text.as_str())).expect("parses");
        assert_eq!(again.cluster_id, ClusterId([1; 16]));
        assert_eq!(again.kind, token().kind);
        assert_eq!(again.endpoints, token().endpoints);
        assert_eq!(again.cluster_key_hash, SpkiHash([2; 32]));
        assert_eq!(again.id, TokenId([3; 16]));
        assert_eq!(again.secret.expose(), &[4; 32]);
        assert_eq!(again.expires, token().expires);
        assert_eq!(again.encode().expect("encodes"), text);
    }

    #[test]
    fn a_token_has_one_text() {
        let text = token().encode().expect("encodes");
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX).expect("a token")).expect("decodes");
        let (fields, _) = bytes.split_last_chunk::<CHECK_BYTES>().expect("a checksum");
        let with_check = |fields: &[u8]| {
            let whole = [fields, check_of(fields).as_slice()].concat();
            JoinToken::parse(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(whole))).err()
        };
        assert_eq!(with_check(fields), None);
        // The number of endpoints in two bytes instead of one; a port with a zero before it.
        let at = fields.windows(14).position(|part| part == b"127.0.0.1:7443").expect("an address");
        let longer = [&fields[..at - 2], &[0x81, 0x00], &fields[at - 1..]].concat();
        let other = [&fields[..at - 1], b"\x0f127.0.0.1:07443", &fields[at + 14..]].concat();
        assert_eq!(with_check(&longer), Some(TokenError::Damaged));
        assert_eq!(with_check(&other), Some(TokenError::Damaged));
    }

    #[test]
    fn every_changed_character_and_every_cut_is_refused() {
        let text = token().encode().expect("encodes");
        for at in 0..text.len() {
            let mut bad = text.as_bytes().to_vec();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bad).expect("ASCII");
            assert!(JoinToken::parse(&bad).is_err(), "character {at}");
            assert!(JoinToken::parse(&text[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(JoinToken::parse(&format!("{}A", text.as_str())).err(), Some(TokenError::Damaged));
        assert_eq!(JoinToken::parse("hello").err(), Some(TokenError::NotAToken));
    }

    #[test]
    fn no_debug_output_shows_the_secret() {
        assert!(!format!("{:?}", token()).contains("4, 4, 4"));
    }

    #[test]
    fn a_token_without_endpoints_is_not_made() {
        assert!(JoinToken { endpoints: Vec::new(), ..token() }.encode().is_err());
    }
}
