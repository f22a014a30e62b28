//! Streams sealed to recipients that are not here: age (age-encryption.org/v1) with X25519 recipients and nothing else.
//!
//! A recipient is public and may stand in a configuration; the identity that opens is kept elsewhere. Both are written as
//! `age` and `age-keygen` write them, so a backup can be opened without this program. It says nothing of who sealed:
//! whoever knows a recipient can seal to it, so authenticity is the caller's to add.
//!
//! age: a file key of 128 random bits is wrapped to each recipient (ephemeral X25519, HKDF-SHA-256, ChaCha20-Poly1305), the
//! header is authenticated by HMAC under it, and the payload is STREAM (Hoang et al. 2015) in segments of 64 KiB of which
//! the last is marked. So an end that was cut off, and segments that were swapped, do not open.

use std::io::{self, BufRead, Read, Write};

use age::secrecy::ExposeSecret as _;

use crate::SecretBytes;

/// Most recipients of one stream: the header stays far below what [`open`] reads of it.
pub const RECIPIENTS_MAX: usize = 16;
/// A header of that many recipients is far shorter; a longer one is not read on.
const HEADER_BYTES_MAX: u64 = 16 * 1_024;
/// How an identity's line begins.
const IDENTITY_PREFIX: &str = "AGE-SECRET-KEY-1";

/// To whom a stream is sealed: `age1…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(age::x25519::Recipient);

/// Who opens a stream: `AGE-SECRET-KEY-1…`.
pub struct Identity(age::x25519::Identity);

/// Text that is no recipient, or no file of identities.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Not `age1…` of an X25519 key.
    #[error("not an age recipient: it begins with `age1`, as `chancery backup keygen` and `age-keygen` print it")]
    Recipient,
    /// No line of the text is an X25519 identity.
    #[error("no age identity in it: a line that begins with `AGE-SECRET-KEY-1`")]
    Identity,
}

/// Why a stream does not open.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// None of the identities is a recipient.
    #[error("none of the identities is a recipient of it")]
    NoIdentity,
    /// Not an age stream, or a header that was changed.
    #[error("it does not begin as a sealed stream does")]
    Header,
    /// It could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A stream that is being sealed; [`Sealing::finish`] must end it, or it does not open.
pub struct Sealing<W: Write>(age::stream::StreamWriter<W>);

/// A stream that is being opened. What it gives is authentic only once it has given its end.
pub struct Opening<R: BufRead>(age::stream::StreamReader<Bounded<R>>);

impl Recipient {
    /// The recipient of that text.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        text.parse().map(Self).map_err(|_| Malformed::Recipient)
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recipient({})", self.0)
    }
}

impl Identity {
    /// Draws one.
    #[must_use]
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// The identities of a file as `age-keygen` writes it: one a line, comments behind `#`.
    ///
    /// # Errors
    /// When there is none in it.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, Malformed> {
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with(IDENTITY_PREFIX));
        let found: Vec<_> = lines.filter_map(|line| line.parse().ok().map(Self)).collect();
        if found.is_empty() { Err(Malformed::Identity) } else { Ok(found) }
    }

    /// Whom to seal to so that this opens.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// Its line in a file.
    #[must_use]
    pub fn to_line(&self) -> SecretBytes {
        SecretBytes::from_vec(self.0.to_string().expose_secret().as_bytes().to_vec())
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(redacted)")
    }
}

/// Begins a stream that any of the recipients can open.
///
/// # Errors
/// Without a recipient or with more than [`RECIPIENTS_MAX`]; those of `out`.
pub fn seal<W: Write>(recipients: &[Recipient], out: W) -> io::Result<Sealing<W>> {
    if recipients.len() > RECIPIENTS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many recipients"));
    }
    let all = recipients.iter().map(|recipient| &recipient.0 as &dyn age::Recipient);
    let sealing = age::Encryptor::with_recipients(all).map_err(|error| io::Error::other(error.to_string()))?;
    sealing.wrap_output(out).map(Sealing)
}

impl<W: Write> Sealing<W> {
    /// Ends the stream.
    ///
    /// # Errors
    /// Those of what it is written to.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> std::fmt::Debug for Sealing<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealing(redacted)")
    }
}

/// Opens a stream; whoever sealed it is not known by that.
///
/// # Errors
/// When none of the identities is a recipient, or the header is damaged or too long.
pub fn open<R: BufRead>(input: R, identities: &[Identity]) -> Result<Opening<R>, NotOpened> {
    let bounded = Bounded { input, left: HEADER_BYTES_MAX, header: true };
    let header = age::Decryptor::new_buffered(bounded).map_err(not_opened)?;
    if header.is_scrypt() {
        // A passphrase header makes whoever opens it work as hard as its writer likes.
        return Err(NotOpened::NoIdentity);
    }
    let all = identities.iter().map(|identity| &identity.0 as &dyn age::Identity);
    header.decrypt(all).map(Opening).map_err(not_opened)
}

impl<R: BufRead> Read for Opening<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl<R: BufRead> std::fmt::Debug for Opening<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opening(redacted)")
    }
}

fn not_opened(error: age::DecryptError) -> NotOpened {
    match error {
        age::DecryptError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => NotOpened::Io(error),
        age::DecryptError::NoMatchingKeys => NotOpened::NoIdentity,
        _ => NotOpened::Header,
    }
}

/// Input of which the header may be so long and no longer: the header is held in memory, and is read line by line until it
/// ends. The payload is read in segments, through `read`.
struct Bounded<R> {
    input: R,
    left: u64,
    header: bool,
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // Only what follows the header is read this way.
        self.header = false;
        self.input.read(out)
    }
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.header {
            return self.input.fill_buf();
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let buffer = self.input.fill_buf()?;
        Ok(buffer.get(..most.min(buffer.len())).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
        self.input.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(recipients: &[Recipient], plain: &[u8]) -> Vec<u8> {
        let mut sealing = seal(recipients, Vec::new()).expect("begins");
        sealing.write_all(plain).expect("writes");
        sealing.finish().expect("ends")
    }

    fn opened(sealed: &[u8], identity: &Identity) -> Result<Vec<u8>, NotOpened> {
        let identity = Identity::parse_all(std::str::from_utf8(identity.to_line().expose()).expect("text"));
        let mut plain = Vec::new();
        open(sealed, &identity.expect("parses"))?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn each_recipient_opens_and_nobody_else() {
        let [one, two, stranger] = [Identity::generate(), Identity::generate(), Identity::generate()];
        let plain = vec![7; 200_000];
        let bytes = sealed(&[one.recipient(), two.recipient()], &plain);
        assert_eq!(opened(&bytes, &one).expect("opens"), plain);
        assert_eq!(opened(&bytes, &two).expect("opens"), plain);
        assert!(matches!(opened(&bytes, &stranger), Err(NotOpened::NoIdentity)));
    }

    #[test]
    fn a_cut_a_swap_and_a_changed_bit_do_not_open() {
        let identity = Identity::generate();
        let bytes = sealed(&[identity.recipient()], &vec![7; 200_000]);
        let payload = bytes.len() - 200_000 - 4 * 16;
        let segment = 64 * 1_024 + 16;
        assert!(opened(&bytes[..bytes.len() - 1], &identity).is_err());
        // A whole number of segments is left: only the mark of the last one tells.
        assert!(opened(&bytes[..payload + 2 * segment], &identity).is_err());
        let mut swapped = bytes.clone();
        swapped[payload..payload + segment].copy_from_slice(&bytes[payload + segment..payload + 2 * segment]);
        swapped[payload + segment..payload + 2 * segment].copy_from_slice(&bytes[payload..payload + segment]);
        assert!(opened(&swapped, &identity).is_err());
        for at in (0..bytes.len()).step_by(997) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(opened(&changed, &identity).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_endless_header_is_not_read() {
        let identity = Identity::generate();
        let line = format!("-> X25519 {}\n{}\n", "A".repeat(43), "A".repeat(43));
        let endless = format!("age-encryption.org/v1\n{}", line.repeat(1_000_000));
        let mut input = io::BufReader::new(endless.as_bytes());
        assert!(matches!(open(&mut input, &[identity]), Err(NotOpened::Header)));
        let mut rest = Vec::new();
        input.read_to_end(&mut rest).expect("reads");
        assert!(rest.len() > endless.len() - 64 * 1_024, "{} of {} are left", rest.len(), endless.len());
    }

    #[test]
    fn texts_are_those_of_age() {
        let identity = Identity::generate();
        let text = identity.recipient().to_string();
        assert!(text.starts_with("age1"));
        assert_eq!(Recipient::parse(&text), Ok(identity.recipient()));
        assert_eq!(Recipient::parse("age1nothing"), Err(Malformed::Recipient));
        assert_eq!(Identity::parse_all("# a comment\n").map(|found| found.len()), Err(Malformed::Identity));
        assert_eq!(format!("{identity:?}"), "Identity(redacted)");
        assert!(seal(&[], Vec::new()).is_err());
        assert!(seal(&vec![identity.recipient(); RECIPIENTS_MAX + 1], Vec::new()).is_err());
    }
}
