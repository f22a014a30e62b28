//! What the tour encrypts: a file, and a unary ciphertext of it that a node can re-encrypt.

use std::path::{Path, PathBuf};

use chancery_client::envelope::Bound;
use crypto::hash::sha256;
use types::NamespaceName;
use types::limits::UNARY_PLAINTEXT_BYTES_MAX;

use super::fault::Fault;

/// Encrypted when there is no README.md and no other file was named.
const BUILT_IN: &str = include_str!("../../../README.md");

/// A file and what was made of it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// What it is called in the table.
    pub(crate) name: String,
    /// Where the plaintext is.
    pub(crate) plain: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
    /// Where the ciphertext is.
    pub(crate) sealed: PathBuf,
    /// The key version it is under.
    pub(crate) version: u32,
    /// As much of the plaintext as one call takes: all of a small file.
    pub(crate) start: Vec<u8>,
    /// A unary ciphertext of `start`.
    pub(crate) unary: Vec<u8>,
}

/// A file that will be encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plain {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) start: Vec<u8>,
}

/// What its ciphertexts are bound to.
pub(crate) fn bound() -> Result<Bound, Fault> {
    let context = chancery_client::envelope::EncryptionContext::new([("tenant", "acme")]);
    Ok(Bound { namespace: NamespaceName::default_namespace(), context: context?, aad: Vec::new() })
}

impl Plain {
    /// The named file, else README.md, else the README.md of this build, written into `work`.
    pub(crate) fn find(named: Option<&Path>, work: &Path) -> Result<Self, Fault> {
        let usual = Path::new("README.md");
        match named {
            Some(path) => Self::read(path),
            None if usual.is_file() => Self::read(usual),
            None => {
                let path = work.join("README.md");
                std::fs::write(&path, BUILT_IN)?;
                Self::read(&path)
            }
        }
    }

    /// Reads the file once, in constant memory.
    fn read(path: &Path) -> Result<Self, Fault> {
        use std::io::Read as _;
        let unreadable = |error: std::io::Error| Fault::new(format!("`{}` cannot be read: {error}", path.display()));
        let mut file = std::fs::File::open(path).map_err(unreadable)?;
        let mut start = Vec::new();
        file.by_ref().take(UNARY_PLAINTEXT_BYTES_MAX as u64).read_to_end(&mut start).map_err(unreadable)?;
        let mut hash = crypto::hash::Sha256::new();
        hash.update(&start);
        let (mut bytes, mut buffer) = (start.len() as u64, vec![0; 1_024 * 1_024]);
        loop {
            let got = file.read(&mut buffer).map_err(unreadable)?;
            let Some(read) = buffer.get(..got).filter(|read| !read.is_empty()) else { break };
            hash.update(read);
            bytes += got as u64;
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, path: path.to_owned(), bytes, sha256: hash.finish(), start })
    }
}

/// SHA-256 of a file.
pub(crate) fn sha256_of(path: &Path) -> Result<[u8; 32], Fault> {
    Plain::read(path).map(|plain| plain.sha256)
}

/// Whether `bytes` are the start of the sample.
pub(crate) fn is_start(sample: &Sample, bytes: &[u8]) -> bool {
    sha256(bytes) == sha256(&sample.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_size_is_hashed_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("large.bin");
        for size in [0, 1, UNARY_PLAINTEXT_BYTES_MAX, UNARY_PLAINTEXT_BYTES_MAX + 1, 3 * 1_024 * 1_024 + 7] {
            let content: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).expect("small")).collect();
            std::fs::write(&path, &content).expect("writes");
            let plain = Plain::find(Some(&path), folder.path()).expect("reads");
            assert_eq!((plain.bytes, plain.sha256), (size as u64, sha256(&content)), "{size}");
            assert_eq!(plain.start, content[..size.min(UNARY_PLAINTEXT_BYTES_MAX)], "{size}");
            assert_eq!(plain.name, "large.bin");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("none.txt");
        let fault = Plain::find(Some(&missing), folder.path()).expect_err("missing").to_string();
        assert!(fault.contains("none.txt") && fault.contains("cannot be read"), "{fault}");
    }
}
