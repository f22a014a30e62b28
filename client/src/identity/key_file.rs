//! The text of a private key file: PKCS#8 PEM in clear, or encrypted under a passphrase.
//!
//! Encrypted: PEM label `CHANCERY ENCRYPTED PRIVATE KEY`; content `version(1) | memory KiB(u32 BE) | iterations(u32 BE) |
//! lanes(u32 BE) | salt(16) | wrapped PKCS#8`. The key-encryption key is argon2id of the passphrase; the whole header is
//! AAD of the wrapping (docs/spec/wrapping.md), so that a cost cannot be lowered in place.

use crypto::password::{self, Params, SALT_BYTES};
use crypto::sign::P256Signer;
use crypto::{SecretBytes, entropy, wrap};
use zeroize::Zeroizing;

const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "CHANCERY ENCRYPTED PRIVATE KEY";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 3 * 4 + SALT_BYTES;
const AAD: &[u8] = b"chancery private key file v1";

/// Why a key file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is not a key file, or of a format that this version does not know.
    #[error("the key file is damaged or of an unknown format: {0}")]
    Malformed(&'static str),
    /// The passphrase is wrong, or the file was changed: the two cannot be told apart.
    #[error("the passphrase is wrong, or the key file was changed")]
    WrongPassphrase,
    /// A passphrase is needed and could not be had.
    #[error("the key is encrypted and no passphrase was given: {0}")]
    NoPassphrase(String),
    /// The key could not be encrypted.
    #[error("the key could not be encrypted")]
    Encrypt,
}

/// Where the passphrase of an encrypted key comes from, asked only when one is needed.
pub trait Passphrase {
    /// The passphrase.
    ///
    /// # Errors
    /// Why there is none, in words for the user.
    fn passphrase(&self) -> Result<SecretBytes, String>;
}

impl<F: Fn() -> Result<SecretBytes, String>> Passphrase for F {
    fn passphrase(&self) -> Result<SecretBytes, String> {
        self()
    }
}

/// How a private key rests on disk.
pub enum Protection<'a> {
    /// Encrypted under this passphrase at that cost.
    Passphrase(&'a SecretBytes, Params),
    /// In clear, guarded by the file's mode alone: for `chancery dev`, agents and nodes that start unattended.
    DangerousUnencrypted,
}

/// The text to write for a key. It is itself secret when the protection is none.
///
/// # Errors
/// Only when the key is too long to wrap, which a P-256 key is not.
pub fn seal_key(signer: &P256Signer, protection: &Protection<'_>) -> Result<Zeroizing<String>, KeyFileError> {
    let pkcs8 = signer.to_pkcs8();
    let (label, content) = match protection {
        Protection::DangerousUnencrypted => (PLAIN, pkcs8.expose().to_vec()),
        Protection::Passphrase(passphrase, params) => (ENCRYPTED, encrypt(pkcs8.expose(), passphrase, *params)?),
    };
    Ok(Zeroizing::new(pem::encode(&pem::Pem::new(label, content))))
}

/// Reads a key of either form. The passphrase is asked for only when the key is encrypted.
///
/// # Errors
/// When it is no key file, or does not open.
pub fn open_key(text: &[u8], passphrase: &dyn Passphrase) -> Result<P256Signer, KeyFileError> {
    let file = pem::parse(text).map_err(|_| KeyFileError::Malformed("it is not PEM"))?;
    let (label, content) = (file.tag().to_owned(), SecretBytes::from_vec(file.into_contents()));
    let pkcs8 = match label.as_str() {
        PLAIN => content,
        ENCRYPTED => decrypt(content.expose(), passphrase)?,
        _ => return Err(KeyFileError::Malformed("its PEM label is not one of ours")),
    };
    P256Signer::from_pkcs8(pkcs8.expose()).map_err(|_| KeyFileError::Malformed("it holds no P-256 key"))
}

fn encrypt(pkcs8: &[u8], passphrase: &SecretBytes, params: Params) -> Result<Vec<u8>, KeyFileError> {
    let salt = entropy::array::<SALT_BYTES>();
    let mut file = Vec::with_capacity(HEADER_BYTES + pkcs8.len() + wrap::OVERHEAD_BYTES);
    file.push(VERSION);
    for number in [params.memory_kib(), params.iterations(), params.lanes()] {
        file.extend_from_slice(&number.to_be_bytes());
    }
    file.extend_from_slice(&salt);
    let key = password::derive(passphrase.expose(), &salt, params);
    let wrapped =
        wrap::wrap(key.expose(), entropy::array(), &[AAD, &file].concat(), pkcs8).map_err(|_| KeyFileError::Encrypt)?;
    file.extend_from_slice(&wrapped);
    Ok(file)
}

fn decrypt(file: &[u8], passphrase: &dyn Passphrase) -> Result<SecretBytes, KeyFileError> {
    let short = KeyFileError::Malformed("it is too short");
    let Some((header, wrapped)) = file.split_first_chunk::<HEADER_BYTES>() else { return Err(short) };
    let (version, rest) = header.split_first().ok_or(KeyFileError::Malformed("it is too short"))?;
    if *version != VERSION {
        return Err(KeyFileError::Malformed("its version is not 1"));
    }
    let (numbers, salt) = rest.split_at(3 * 4);
    let salt = salt.try_into().map_err(|_| KeyFileError::Malformed("it is too short"))?;
    let mut numbers = numbers.chunks_exact(4).map(|n| n.try_into().map_or(0, u32::from_be_bytes));
    let mut next = || numbers.next().unwrap_or(0);
    let params = Params::new(next(), next(), next())
        .map_err(|_| KeyFileError::Malformed("its argon2id cost is out of bounds"))?;
    let passphrase = passphrase.passphrase().map_err(KeyFileError::NoPassphrase)?;
    let key = password::derive(passphrase.expose(), &salt, params);
    wrap::unwrap(key.expose(), &[AAD, header].concat(), wrapped).map_err(|_| KeyFileError::WrongPassphrase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &'static str) -> impl Fn() -> Result<SecretBytes, String> {
        move || Ok(SecretBytes::from_vec(text.as_bytes().to_vec()))
    }

    fn none() -> Result<SecretBytes, String> {
        Err("there is no terminal".to_owned())
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_only() {
        let signer = P256Signer::generate();
        let passphrase = SecretBytes::from_vec(b"correct horse".to_vec());
        let text =
            seal_key(&signer, &Protection::Passphrase(&passphrase, Params::dangerous_cheapest())).expect("seals");
        let again = open_key(text.as_bytes(), &words("correct horse")).expect("opens");
        assert_eq!(again.spki_der(), signer.spki_der());
        let wrong = open_key(text.as_bytes(), &words("battery staple"));
        assert!(matches!(wrong, Err(KeyFileError::WrongPassphrase)));
        assert!(matches!(open_key(text.as_bytes(), &none), Err(KeyFileError::NoPassphrase(_))));
    }

    #[test]
    fn a_plain_key_asks_for_no_passphrase() {
        let signer = P256Signer::generate();
        let text = seal_key(&signer, &Protection::DangerousUnencrypted).expect("seals");
        assert_eq!(open_key(text.as_bytes(), &none).expect("opens").spki_der(), signer.spki_der());
    }

    #[test]
    fn every_changed_byte_of_an_encrypted_key_is_refused() {
        let passphrase = SecretBytes::from_vec(b"p".to_vec());
        let protection = Protection::Passphrase(&passphrase, Params::dangerous_cheapest());
        let text = seal_key(&P256Signer::generate(), &protection).expect("seals");
        let content = pem::parse(text.as_bytes()).expect("PEM").into_contents();
        // The two upper bytes of the memory cost are left out: they only make the refusal slow.
        for at in (0..content.len()).filter(|at| !matches!(at, 1..=4)) {
            let mut bad = content.clone();
            bad[at] ^= 1;
            let bad = pem::encode(&pem::Pem::new(ENCRYPTED, bad));
            assert!(open_key(bad.as_bytes(), &words("p")).is_err(), "byte {at}");
        }
        assert!(matches!(open_key(b"nonsense", &none), Err(KeyFileError::Malformed(_))));
    }
}
