//! The ledger: one line for each thing that a restore must not bring back, signed and chained (docs/spec/ledger.md).
//!
//! The form and its verification; nothing here touches a file or signs. A torn tail and damage are told apart: the first is a
//! write that nobody was told of, the second is not to be believed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use types::{
    AgentName, Binding, ClusterId, EntryName, Generation, KeyId, KeyName, NamespaceName, OperatorName, Principal, Role,
    Scope, SpkiHash, Time,
};

/// What a signature is over, before the body: no signature of the cluster key stands for anything else.
const DOMAIN: &[u8] = b"chancery ledger v1\n";

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LedgerFact {
    /// The ledger of this cluster begins; its key, DER SubjectPublicKeyInfo.
    Begun(Vec<u8>),
    /// A restore has opened that life of the cluster.
    Generation(Generation),
    /// What had happened before this entry may be missing: state had forgotten it, or never knew.
    Since,
    /// Versions of a key were destroyed.
    Destroyed {
        /// Where.
        namespace: NamespaceName,
        /// Its name.
        key: KeyName,
        /// Its identity in ciphertexts.
        key_id: KeyId,
        /// Which versions.
        versions: Vec<u32>,
        /// The key as a whole.
        whole: bool,
    },
    /// A key was disabled, or one version of it.
    Disabled {
        /// Where.
        namespace: NamespaceName,
        /// Its name.
        key: KeyName,
        /// Its identity in ciphertexts.
        key_id: KeyId,
        /// None: the key as a whole.
        version: Option<u32>,
    },
    /// The highest version of a key.
    Version {
        /// Its identity in ciphertexts.
        key_id: KeyId,
        /// The number.
        last: u32,
    },
    /// An operator was revoked, or its key replaced.
    OperatorRevoked {
        /// Its name.
        name: OperatorName,
        /// The key that was enrolled then.
        spki: SpkiHash,
    },
    /// An operator's enrolment was given an earlier end.
    OperatorLimited {
        /// Its name.
        name: OperatorName,
        /// The key that is enrolled.
        spki: SpkiHash,
        /// When it ends.
        expires: Time,
    },
    /// An agent was banned.
    AgentRevoked {
        /// Its name.
        name: AgentName,
        /// The key that was enrolled then.
        spki: SpkiHash,
    },
    /// An agent was enrolled again, with another key.
    AgentReplaced {
        /// Its name.
        name: AgentName,
        /// The key that it had.
        spki: SpkiHash,
    },
    /// A role was taken back.
    RoleRevoked(Binding),
    /// A registration was deleted or changed: what it said before does not hold any more.
    EntryWithdrawn {
        /// Where.
        namespace: NamespaceName,
        /// Its name.
        entry: EntryName,
    },
    /// A DNS suffix was taken back.
    SuffixWithdrawn {
        /// From whom.
        namespace: NamespaceName,
        /// Which.
        suffix: String,
    },
    /// Lower versions of a key are not used any more.
    BelowMinimum {
        /// Where.
        namespace: NamespaceName,
        /// Its name.
        key: KeyName,
        /// Its identity in ciphertexts.
        key_id: KeyId,
        /// The lowest version that may be used.
        version: u32,
    },
    /// A namespace was destroyed, or closed to be.
    NamespaceClosed {
        /// Which.
        namespace: NamespaceName,
        /// Its identity in ciphertexts.
        namespace_id: KeyId,
        /// Its key is gone.
        destroyed: bool,
    },
    /// Nothing else had happened up to this entry.
    Mark,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LedgerLine {
    /// Its place, from 0.
    pub number: u64,
    /// SHA-256 of the line before.
    pub previous: [u8; 32],
    /// Whose.
    pub cluster: ClusterId,
    /// In which life.
    pub generation: Generation,
    /// By which entry of its log.
    pub index: u64,
    /// When, in state time.
    pub at: Time,
    /// What.
    pub fact: LedgerFact,
}

/// Where a ledger ends: what the next line follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LedgerEnd {
    /// The number of the next line.
    pub next: u64,
    /// The hash that it has to name.
    pub previous: [u8; 32],
    /// The life and the entry of the last line.
    pub last: (Generation, u64),
    /// Those of the last mark: up to there nothing is missing. What follows it may be a part of what was being written.
    pub marked: (Generation, u64),
    /// Bytes of whole lines.
    pub bytes: u64,
}

/// A ledger that verifies from its first line on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ledger {
    /// The lines.
    pub lines: Vec<LedgerLine>,
    /// Where it ends.
    pub end: LedgerEnd,
    /// Bytes after the last whole line: a write that was cut off.
    pub torn: u64,
}

/// Why bytes are no ledger.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is not one whole line.
    #[error("the ledger is empty")]
    Empty,
    /// A line that is none.
    #[error("line {0} of the ledger is damaged: it is not in the form of one")]
    Malformed(u64),
    /// A line that the cluster key did not sign.
    #[error("line {0} of the ledger is damaged: its signature is not the cluster key's")]
    Signature(u64),
    /// A line that does not follow the one before.
    #[error("line {0} of the ledger does not follow the one before: lines are missing, changed or in another order")]
    Chain(u64),
    /// A line of another cluster, or one that begins again.
    #[error("line {0} of the ledger belongs to another one")]
    Foreign(u64),
    /// It begins with another key than was expected.
    #[error("the ledger is another cluster's: its key is {found}, not {expected}")]
    Key {
        /// Whose it is.
        found: SpkiHash,
        /// Whose it should be.
        expected: SpkiHash,
    },
}

/// The body as it stands in the line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    n: u64,
    previous: String,
    cluster: String,
    generation: Generation,
    index: u64,
    time_ms: u64,
    fact: Said,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Begun { spki: String },
    Generation { opened: Generation },
    Since {},
    Destroyed { namespace: NamespaceName, key: KeyName, key_id: String, versions: Vec<u32>, whole: bool },
    Disabled { namespace: NamespaceName, key: KeyName, key_id: String, version: Option<u32> },
    Version { key_id: String, last: u32 },
    OperatorRevoked { name: OperatorName, spki: String },
    OperatorLimited { name: OperatorName, spki: String, expires_ms: u64 },
    AgentRevoked { name: AgentName, spki: String },
    AgentReplaced { name: AgentName, spki: String },
    RoleRevoked { principal: String, role: String, namespace: Option<NamespaceName> },
    EntryWithdrawn { namespace: NamespaceName, entry: EntryName },
    SuffixWithdrawn { namespace: NamespaceName, suffix: String },
    BelowMinimum { namespace: NamespaceName, key: KeyName, key_id: String, version: u32 },
    NamespaceClosed { namespace: NamespaceName, namespace_id: String, destroyed: bool },
    Mark {},
}

impl LedgerLine {
    /// The body, and what the cluster key has to sign for it.
    #[must_use]
    pub fn to_body(&self) -> (String, Vec<u8>) {
        let body = Body {
            n: self.number,
            previous: hex::encode(self.previous),
            cluster: self.cluster.to_hex(),
            generation: self.generation,
            index: self.index,
            time_ms: self.at.0,
            fact: said(&self.fact),
        };
        // Strings, numbers and lists of them always encode.
        let body = serde_json::to_string(&body).unwrap_or_default();
        let signed = [DOMAIN, body.as_bytes()].concat();
        (body, signed)
    }

    /// The line, without its line break.
    #[must_use]
    pub fn join(body: &str, signature: &[u8]) -> String {
        format!("{} {body}", STANDARD.encode(signature))
    }
}

impl LedgerEnd {
    /// Before the first line.
    pub const START: Self =
        Self { next: 0, previous: [0; 32], last: (Generation::NONE, 0), marked: (Generation::NONE, 0), bytes: 0 };

    /// The end once that line, without its line break, has followed.
    #[must_use]
    pub fn after(self, line: &LedgerLine, text: &str) -> Self {
        Self {
            next: self.next.saturating_add(1),
            previous: crypto::hash::sha256(text.as_bytes()),
            last: (line.generation, line.index),
            marked: if line.fact == LedgerFact::Mark { (line.generation, line.index) } else { self.marked },
            bytes: self.bytes.saturating_add(text.len() as u64).saturating_add(1),
        }
    }
}

/// Reads and verifies a ledger. With `expected`, the hash of the cluster key that is pinned, it must be that cluster's; without,
/// it is believed as far as its own first line goes.
///
/// # Errors
/// What is wrong with the first line that is. A last line without its line break is none: see [`Ledger::torn`].
pub fn verify_ledger(bytes: &[u8], expected: Option<SpkiHash>) -> Result<Ledger, LedgerError> {
    match salvage_ledger(bytes, expected)? {
        (ledger, None) => Ok(ledger),
        (_, Some(error)) => Err(error),
    }
}

/// As much of a ledger as verifies from its first line on, and what is wrong with the first line that does not: what the
/// lines before it say is true all the same.
///
/// # Errors
/// As [`verify_ledger`], when not even the first line is to be believed.
pub fn salvage_ledger(bytes: &[u8], expected: Option<SpkiHash>) -> Result<(Ledger, Option<LedgerError>), LedgerError> {
    let mut reader = LedgerReader { key: None, end: LedgerEnd::START, expected };
    let (ledger, error) = reader.read(bytes);
    match (ledger.lines.is_empty(), error) {
        (true, error) => Err(error.unwrap_or(LedgerError::Empty)),
        (false, error) => Ok((ledger, error)),
    }
}

/// Verifies a ledger piece by piece: whoever writes to one need not read it from its first line each time.
#[derive(Clone, Debug)]
pub struct LedgerReader {
    /// The cluster's key and id, once the first line has named them.
    key: Option<(Vec<u8>, ClusterId)>,
    end: LedgerEnd,
    expected: Option<SpkiHash>,
}

impl LedgerReader {
    /// Before the first line of the ledger of the cluster whose key has that hash.
    #[must_use]
    pub const fn new(expected: SpkiHash) -> Self {
        Self { key: None, end: LedgerEnd::START, expected: Some(expected) }
    }

    /// Where what was read so far ends.
    #[must_use]
    pub const fn end(&self) -> LedgerEnd {
        self.end
    }

    /// Reads on, up to the first line that does not verify: the lines, and what is wrong with that one.
    pub fn read(&mut self, bytes: &[u8]) -> (Ledger, Option<LedgerError>) {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let (complete, torn) = bytes.split_at(whole);
        let (mut lines, mut error) = (Vec::new(), None);
        for text in complete.split_terminator_lines() {
            match self.line(text) {
                Ok(line) => lines.push(line),
                Err(why) => {
                    error = Some(why);
                    break;
                }
            }
        }
        (Ledger { lines, end: self.end, torn: torn.len() as u64 }, error)
    }

    fn line(&mut self, text: &[u8]) -> Result<LedgerLine, LedgerError> {
        let number = self.end.next;
        let text = std::str::from_utf8(text).map_err(|_| LedgerError::Malformed(number))?;
        let (signature, body) = text.split_once(' ').ok_or(LedgerError::Malformed(number))?;
        let line = parse(body).ok_or(LedgerError::Malformed(number))?;
        let spki = match (&self.key, &line.fact) {
            (None, LedgerFact::Begun(spki)) => {
                let found = SpkiHash(crypto::hash::sha256(spki));
                if let Some(expected) = self.expected.filter(|expected| *expected != found) {
                    return Err(LedgerError::Key { found, expected });
                }
                spki.clone()
            }
            (None, _) => return Err(LedgerError::Chain(number)),
            (Some(_), LedgerFact::Begun(_)) => return Err(LedgerError::Foreign(number)),
            (Some((_, cluster)), _) if line.cluster != *cluster => return Err(LedgerError::Foreign(number)),
            (Some((spki, _)), _) => spki.clone(),
        };
        let signature = STANDARD.decode(signature).map_err(|_| LedgerError::Malformed(number))?;
        let signed = [DOMAIN, body.as_bytes()].concat();
        crypto::sign::verify_p256_spki(&spki, &signed, &signature).map_err(|_| LedgerError::Signature(number))?;
        let follows = line.number == number && line.previous == self.end.previous;
        if !follows || (line.generation, line.index) < self.end.last {
            return Err(LedgerError::Chain(number));
        }
        self.key = Some((spki, line.cluster));
        self.end = self.end.after(&line, text);
        Ok(line)
    }
}

/// Lines by their line breaks alone: a carriage return is a byte like any other, so that one file has one reading.
trait SplitLines {
    fn split_terminator_lines(&self) -> impl Iterator<Item = &[u8]>;
}

impl SplitLines for [u8] {
    fn split_terminator_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.strip_suffix(b"\n").into_iter().flat_map(|body| body.split(|byte| *byte == b'\n'))
    }
}

/// A body in exactly the form in which it is written.
fn parse(text: &str) -> Option<LedgerLine> {
    let body: Body = serde_json::from_str(text).ok()?;
    let fact = match body.fact {
        Said::Begun { spki } => LedgerFact::Begun(hex::decode(spki).ok()?),
        Said::Generation { opened } => LedgerFact::Generation(opened),
        Said::Since {} => LedgerFact::Since,
        Said::Destroyed { namespace, key, key_id, versions, whole } => {
            LedgerFact::Destroyed { namespace, key, key_id: KeyId::from_hex(&key_id)?, versions, whole }
        }
        Said::Disabled { namespace, key, key_id, version } => {
            LedgerFact::Disabled { namespace, key, key_id: KeyId::from_hex(&key_id)?, version }
        }
        Said::Version { key_id, last } => LedgerFact::Version { key_id: KeyId::from_hex(&key_id)?, last },
        Said::OperatorRevoked { name, spki } => LedgerFact::OperatorRevoked { name, spki: SpkiHash::from_hex(&spki)? },
        Said::OperatorLimited { name, spki, expires_ms } => {
            LedgerFact::OperatorLimited { name, spki: SpkiHash::from_hex(&spki)?, expires: Time(expires_ms) }
        }
        Said::AgentRevoked { name, spki } => LedgerFact::AgentRevoked { name, spki: SpkiHash::from_hex(&spki)? },
        Said::AgentReplaced { name, spki } => LedgerFact::AgentReplaced { name, spki: SpkiHash::from_hex(&spki)? },
        Said::RoleRevoked { principal, role, namespace } => LedgerFact::RoleRevoked(Binding {
            principal: Principal::parse(&principal)?,
            role: Role::parse(&role)?,
            scope: namespace.map_or(Scope::Cluster, Scope::Namespace),
        }),
        Said::EntryWithdrawn { namespace, entry } => LedgerFact::EntryWithdrawn { namespace, entry },
        Said::SuffixWithdrawn { namespace, suffix } => LedgerFact::SuffixWithdrawn { namespace, suffix },
        Said::BelowMinimum { namespace, key, key_id, version } => {
            LedgerFact::BelowMinimum { namespace, key, key_id: KeyId::from_hex(&key_id)?, version }
        }
        Said::NamespaceClosed { namespace, namespace_id, destroyed } => {
            LedgerFact::NamespaceClosed { namespace, namespace_id: KeyId::from_hex(&namespace_id)?, destroyed }
        }
        Said::Mark {} => LedgerFact::Mark,
    };
    let line = LedgerLine {
        number: body.n,
        previous: hex::decode(body.previous).ok()?.try_into().ok()?,
        cluster: ClusterId::from_hex(&body.cluster)?,
        generation: body.generation,
        index: body.index,
        at: Time(body.time_ms),
        fact,
    };
    (line.to_body().0 == text).then_some(line)
}

fn said(fact: &LedgerFact) -> Said {
    use LedgerFact as F;
    match fact.clone() {
        F::Begun(spki) => Said::Begun { spki: hex::encode(spki) },
        F::Generation(opened) => Said::Generation { opened },
        F::Since => Said::Since {},
        F::Destroyed { namespace, key, key_id, versions, whole } => {
            Said::Destroyed { namespace, key, key_id: key_id.to_hex(), versions, whole }
        }
        F::Disabled { namespace, key, key_id, version } => {
            Said::Disabled { namespace, key, key_id: key_id.to_hex(), version }
        }
        F::Version { key_id, last } => Said::Version { key_id: key_id.to_hex(), last },
        F::OperatorRevoked { name, spki } => Said::OperatorRevoked { name, spki: spki.to_hex() },
        F::OperatorLimited { name, spki, expires } => {
            Said::OperatorLimited { name, spki: spki.to_hex(), expires_ms: expires.0 }
        }
        F::AgentRevoked { name, spki } => Said::AgentRevoked { name, spki: spki.to_hex() },
        F::AgentReplaced { name, spki } => Said::AgentReplaced { name, spki: spki.to_hex() },
        F::RoleRevoked(Binding { principal, role, scope }) => Said::RoleRevoked {
            principal: principal.to_string(),
            role: role.as_str().to_owned(),
            namespace: match scope {
                Scope::Cluster => None,
                Scope::Namespace(name) => Some(name),
            },
        },
        F::EntryWithdrawn { namespace, entry } => Said::EntryWithdrawn { namespace, entry },
        F::SuffixWithdrawn { namespace, suffix } => Said::SuffixWithdrawn { namespace, suffix },
        F::BelowMinimum { namespace, key, key_id, version } => {
            Said::BelowMinimum { namespace, key, key_id: key_id.to_hex(), version }
        }
        F::NamespaceClosed { namespace, namespace_id, destroyed } => {
            Said::NamespaceClosed { namespace, namespace_id: namespace_id.to_hex(), destroyed }
        }
        F::Mark => Said::Mark {},
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
