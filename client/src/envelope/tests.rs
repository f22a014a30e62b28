//! Round trips and refusals with real keys: the verbs of `kms` stand where a node would.

use kms::{Algorithm, KeyMaterial};
use types::KeyId;

use super::*;

/// A node's part, done in place.
struct Local(KeyMaterial);

impl Local {
    fn new() -> Self {
        Self(KeyMaterial::new(KeyId([7; 16]), 3, Algorithm::Aes256Gcm, &[9; 32]).expect("locks"))
    }
}

impl KeyUse for Local {
    async fn encrypt(&self, plaintext: &[u8], bound: &Bound) -> Result<(Vec<u8>, u32), EnvelopeError> {
        let ciphertext = kms::encrypt(&self.0, &bound.binding()?, crypto::entropy::array(), plaintext)?;
        Ok((ciphertext, self.0.version()))
    }

    async fn data_key(&self, bound: &Bound) -> Result<DataKey, EnvelopeError> {
        let plaintext = crypto::entropy::secret::<32>();
        let (wrapped, version) = self.encrypt(plaintext.expose(), bound).await?;
        Ok(DataKey { plaintext, wrapped, version })
    }

    async fn decrypt(&self, ciphertext: &[u8], bound: &Bound) -> Result<Unwrapped, EnvelopeError> {
        let ciphertext = kms::Ciphertext::parse(ciphertext)?;
        let plaintext = kms::decrypt(&self.0, &bound.binding()?, &ciphertext)?;
        Ok(Unwrapped { plaintext, key: "namespaces/default/keys/k".to_owned(), version: self.0.version() })
    }
}

fn bound(tenant: &str) -> Bound {
    Bound {
        namespace: NamespaceName::default_namespace(),
        context: EncryptionContext::new([("tenant", tenant)]).expect("a context"),
        aad: Vec::new(),
    }
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 % 251) as u8).collect()
}

async fn sealed(plaintext: &[u8]) -> Vec<u8> {
    let mut ciphertext = Vec::new();
    let result = seal(&Local::new(), &bound("acme"), plaintext, &mut ciphertext, |_| {}).await.expect("seals");
    assert_eq!(result, Sealed { version: 3, bytes: plaintext.len() as u64 });
    ciphertext
}

/// Every length around a boundary: empty, unary's end, segments, buffers.
#[tokio::test]
async fn every_length_survives() {
    let buffer = BUFFER_BYTES;
    for len in [0, 1, 65_535, 65_536, 65_537, 131_072, 131_073, buffer - 1, buffer, buffer + 1, 3 * buffer + 65_536] {
        let plaintext = data(len);
        let ciphertext = sealed(&plaintext).await;
        let mut out = Vec::new();
        let mut told = 0;
        let opened = open(&Local::new(), &bound("acme"), &ciphertext[..], &mut out, |n| told = n).await.expect("opens");
        assert!(out == plaintext, "{len} bytes");
        assert_eq!((opened.version, opened.bytes, told), (3, len as u64, len as u64));
    }
}

#[tokio::test]
async fn a_wrong_context_cuts_and_changed_bytes_write_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("plain");
    std::fs::write(&output, b"what was there").expect("writes");
    for len in [100, 65_537] {
        let ciphertext = sealed(&data(len)).await;
        let refused = async |ciphertext: &[u8], bound: Bound, what: &str| {
            let error = open_to_file(&Local::new(), &bound, ciphertext, &output, |_| {}).await.expect_err(what);
            assert_eq!(error.reason(), Some(Reason::InvalidCiphertext), "{what}: {error}");
            assert_eq!(std::fs::read(&output).expect("reads"), b"what was there", "{what}");
            assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 1, "{what}: no temporary file");
        };
        refused(&ciphertext, bound("other"), "another context").await;
        for cut in [0, 1, 89, 90, 231, 232, 233, 65_784, ciphertext.len() - 16, ciphertext.len() - 1] {
            if cut < ciphertext.len() {
                refused(&ciphertext[..cut], bound("acme"), &format!("{len} bytes cut at {cut}")).await;
            }
        }
        for at in (0..232.min(ciphertext.len())).chain([ciphertext.len() - 1]) {
            let mut bad = ciphertext.clone();
            bad[at] ^= 1;
            // One flag bit makes a well-formed header of another kind; it is refused in other words.
            if at != 5 {
                refused(&bad, bound("acme"), &format!("{len} bytes, byte {at}")).await;
            }
        }
        refused(&[&ciphertext[..], b"x"].concat(), bound("acme"), "a byte too many").await;
    }
}

#[tokio::test]
async fn files_are_replaced_only_when_all_of_it_verified() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let (cipher, plain) = (folder.path().join("c"), folder.path().join("p"));
    let plaintext = data(300_000);
    seal_to_file(&Local::new(), &bound("acme"), &plaintext[..], &cipher, |_| {}).await.expect("seals");
    let input = tokio::fs::File::open(&cipher).await.expect("opens");
    open_to_file(&Local::new(), &bound("acme"), input, &plain, |_| {}).await.expect("opens");
    assert!(std::fs::read(&plain).expect("reads") == plaintext);
    assert_eq!(std::fs::metadata(&plain).expect("metadata").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_pipe_sees_nothing_of_a_truncated_file() {
    let ciphertext = sealed(&data(3 * BUFFER_BYTES)).await;
    let mut out = Vec::new();
    let cut = std::io::Cursor::new(&ciphertext[..ciphertext.len() - 20]);
    open_verified_first(&Local::new(), &bound("acme"), cut, &mut out, |_| {}).await.expect_err("is cut");
    assert!(out.is_empty());
    let whole = std::io::Cursor::new(&ciphertext[..]);
    open_verified_first(&Local::new(), &bound("acme"), whole, &mut out, |_| {}).await.expect("opens");
    assert!(out == data(3 * BUFFER_BYTES));
}
