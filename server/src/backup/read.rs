//! Reads a backup: first its structure, which anybody can check, then what is sealed in it (docs/spec/backup.md §4).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crypto::hash::Sha256;
use crypto::recipients::{self, Identity};
use crypto::{LockedSecret, SecretBytes};
use state::State;
use types::{SpkiHash, limits};

use super::manifest::Manifest;
use super::probe::Probe;
use super::section::{PIECE_BYTES_MAX, SectionReader};
use super::{BackupError, END, MAGIC, MANIFEST_BYTES_MAX, RootKey, SEAL_BYTES, SIGNATURE_BYTES_MAX, statement};

/// Longest head: a probe of every namespace there may be is far shorter.
const HEAD_BYTES_MAX: u64 = 16 << 20;
/// Of the seal: two hashes and the length of the body.
const HASHES_BYTES: usize = 72;

/// A backup whose structure holds: complete, and signed by the key that it names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspected {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the sealed body.
    pub body_sha256: [u8; 32],
    /// The hash of the cluster key that signed it.
    pub cluster_key_hash: SpkiHash,
    path: PathBuf,
    front_sha256: [u8; 32],
    body_start: u64,
    body_bytes: u64,
}

/// What was sealed in it.
pub(super) struct Contents {
    pub(super) roots: Vec<RootKey>,
    pub(super) probes: Vec<Probe>,
    pub(super) state: State,
}

/// Checks the structure of a backup; blocks. `passed` is told how many bytes have been read.
///
/// # Errors
/// When anything of it is cut, changed or added.
pub fn inspect(path: &Path, passed: &mut dyn FnMut(u64)) -> Result<Inspected, BackupError> {
    let mut file = File::open(path).map_err(BackupError::io(path))?;
    let bytes = file.metadata().map_err(BackupError::io(path))?.len();
    let seal_at = bytes.checked_sub(SEAL_BYTES as u64);
    let seal_at = seal_at.ok_or_else(|| BackupError::NotABackup { path: path.to_owned() })?;
    let seal: [u8; SEAL_BYTES] = at(&mut file, seal_at).map_err(BackupError::io(path))?;
    file.seek(SeekFrom::Start(0)).map_err(BackupError::io(path))?;
    let mut input = BufReader::new(file);
    let (front, manifest) = front(&mut input, path)?;
    if seal.last_chunk() != Some(&END) {
        return Err(BackupError::Damaged(
            "it does not end as a backup does: it was cut off, or something follows".into(),
        ));
    }
    let cluster_key_hash = manifest.cluster_key_hash().ok_or_else(|| damaged("its manifest names no cluster key"))?;
    let body_start = front.len() as u64;
    let body_bytes = seal_at.checked_sub(body_start).ok_or_else(|| damaged("it has no body"))?;
    let body_sha256 = hash(&mut (&mut input).take(body_bytes), passed).map_err(BackupError::io(path))?;
    let front_sha256 = crypto::hash::sha256(&front);
    let hashes = [&front_sha256[..], &body_sha256[..], &body_bytes.to_be_bytes()].concat();
    check_seal(&seal, &hashes, &manifest)?;
    let path = path.to_owned();
    Ok(Inspected { manifest, bytes, body_sha256, cluster_key_hash, path, front_sha256, body_start, body_bytes })
}

/// The manifest alone, as the file says it; blocks.
pub(super) fn peek(path: &Path) -> Result<Manifest, BackupError> {
    let file = File::open(path).map_err(BackupError::io(path))?;
    front(&mut BufReader::new(file), path).map(|(_, manifest)| manifest)
}

/// Magic, length and manifest, and what they say.
fn front(input: &mut impl Read, path: &Path) -> Result<(Vec<u8>, Manifest), BackupError> {
    let no_backup = || BackupError::NotABackup { path: path.to_owned() };
    let mut start = [0; 12];
    input.read_exact(&mut start).map_err(|_| no_backup())?;
    let (magic, length) = start.split_at(MAGIC.len());
    let length = u32::from_be_bytes(length.try_into().map_err(|_| no_backup())?);
    if magic != MAGIC {
        return Err(no_backup());
    }
    if !(1..=MANIFEST_BYTES_MAX).contains(&length) {
        return Err(damaged("its manifest claims an impossible length"));
    }
    let mut manifest = vec![0; usize::try_from(length).unwrap_or_default()];
    input.read_exact(&mut manifest).map_err(BackupError::content(path))?;
    let parsed = Manifest::parse(&manifest).map_err(BackupError::Damaged)?;
    Ok(([&start[..], &manifest].concat(), parsed))
}

fn check_seal(seal: &[u8; SEAL_BYTES], hashes: &[u8], manifest: &Manifest) -> Result<(), BackupError> {
    let (said, rest) = seal.split_at(HASHES_BYTES);
    if said != hashes {
        return Err(damaged("its bytes do not have the hashes at its end"));
    }
    let (length, rest) = rest.split_at(1);
    let (signature, _) = rest.split_at(SIGNATURE_BYTES_MAX);
    let length = usize::from(length.first().copied().unwrap_or_default());
    let (signature, padding) = signature.split_at_checked(length).ok_or_else(|| damaged("its signature's length"))?;
    let spki = manifest.spki().ok_or_else(|| damaged("its manifest names no cluster key"))?;
    let signed = crypto::sign::verify_p256_spki(&spki, &statement(hashes), signature).is_ok();
    if !signed || padding.iter().any(|byte| *byte != 0) {
        return Err(damaged("its signature does not verify"));
    }
    Ok(())
}

impl Inspected {
    /// Refuses a backup that another cluster has signed than the pinned one.
    ///
    /// # Errors
    /// [`BackupError::OtherCluster`].
    pub fn check_pinned(&self, pinned: SpkiHash) -> Result<(), BackupError> {
        if self.cluster_key_hash == pinned {
            return Ok(());
        }
        Err(BackupError::OtherCluster { found: self.cluster_key_hash, pinned })
    }

    /// Opens it and reads it to its end; `leaf` takes each record of the audit log. Blocks.
    pub(super) fn open(
        &self,
        identities: &[Identity],
        leaf: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Contents, BackupError> {
        self.read(identities, |body| {
            let (roots, probes) = self.head(body)?;
            let state = state::read_snapshot(&mut SectionReader::new(body)).map_err(io::Error::other)?;
            read_leaves(body, leaf)?;
            Ok(Contents { roots, probes, state })
        })
    }

    /// Reads the records of the audit log alone.
    pub(super) fn leaves(
        &self,
        identities: &[Identity],
        leaf: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), BackupError> {
        self.read(identities, |body| {
            SectionReader::new(body).skip()?;
            SectionReader::new(body).skip()?;
            read_leaves(body, leaf)
        })
    }

    /// What `take` makes of the opened body, once all of it has been read and is what was inspected.
    fn read<T>(
        &self,
        identities: &[Identity],
        take: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<T, BackupError> {
        let content = BackupError::content(&self.path);
        let mut file = File::open(&self.path).map_err(BackupError::io(&self.path))?;
        file.seek(SeekFrom::Start(self.body_start)).map_err(BackupError::io(&self.path))?;
        let input = BufReader::with_capacity(1 << 16, file.take(self.body_bytes));
        let mut input = HashingReader { input, hash: Sha256::new() };
        let taken = {
            let opened = recipients::open(&mut input, identities);
            let mut body =
                opened.map_err(|error| BackupError::not_opened(error, &self.manifest.recipients, &self.path))?;
            let taken = take(&mut body).map_err(&content)?;
            // The mark of the last segment, and with it that nothing was cut off, is met only at the very end.
            if body.read(&mut [0]).map_err(&content)? != 0 {
                return Err(damaged("something follows its content"));
            }
            taken
        };
        if input.hash.finish() != self.body_sha256 {
            return Err(damaged("it was changed while it was read"));
        }
        Ok(taken)
    }

    fn head(&self, body: &mut dyn Read) -> io::Result<(Vec<RootKey>, Vec<Probe>)> {
        let mut section = SectionReader::new(body);
        let mut head = SecretBytes::with_capacity(PIECE_BYTES_MAX);
        let mut piece = SecretBytes::from_vec(vec![0; 1 << 16]).dangerous_into_vec();
        loop {
            let read = section.read(&mut piece)?;
            head.extend_from_slice(piece.get(..read).unwrap_or_default());
            if read == 0 {
                break;
            }
            if head.len() as u64 > HEAD_BYTES_MAX {
                return Err(invalid("its head is too long"));
            }
        }
        drop(SecretBytes::from_vec(piece));
        let cut = || invalid("its head does not decode");
        let (front, rest) = head.expose().split_first_chunk::<32>().ok_or_else(cut)?;
        if *front != self.front_sha256 {
            return Err(invalid("its manifest is not the one that was sealed with it"));
        }
        let (count, mut rest) = rest.split_first().ok_or_else(cut)?;
        let mut roots = Vec::new();
        for _ in 0..*count {
            let (epoch, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            let (key, after) = after.split_first_chunk::<32>().ok_or_else(cut)?;
            let key = LockedSecret::new(key).map_err(io::Error::other)?;
            roots.push(RootKey { epoch: u32::from_be_bytes(*epoch), key });
            rest = after;
        }
        let (probes, rest) = postcard::take_from_bytes(rest).map_err(|_| cut())?;
        if rest.is_empty() { Ok((roots, probes)) } else { Err(cut()) }
    }
}

/// Hands over each record of the section.
fn read_leaves(body: &mut dyn Read, leaf: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut section = BufReader::new(SectionReader::new(body));
    let mut bytes = Vec::new();
    while !section.fill_buf()?.is_empty() {
        let mut length = [0; 4];
        section.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
        if length > limits::AUDIT_LEAF_BYTES_MAX {
            return Err(invalid("an audit record that is too long"));
        }
        bytes.resize(length, 0);
        section.read_exact(&mut bytes)?;
        leaf(&bytes)?;
    }
    Ok(())
}

fn at<const N: usize>(file: &mut File, offset: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn hash(input: &mut impl Read, passed: &mut dyn FnMut(u64)) -> io::Result<[u8; 32]> {
    let (mut hash, mut buffer, mut total) = (Sha256::new(), vec![0; 1 << 16], 0_u64);
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash.finish());
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        total = total.saturating_add(read as u64);
        passed(total);
    }
}

/// Hashes what is consumed.
struct HashingReader<R> {
    input: R,
    hash: Sha256,
}

impl<R: BufRead> Read for HashingReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(out)?;
        self.hash.update(out.get(..read).unwrap_or_default());
        Ok(read)
    }
}

impl<R: BufRead> BufRead for HashingReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What was shown is still there.
        if let Ok(shown) = self.input.fill_buf() {
            self.hash.update(shown.get(..count).unwrap_or_default());
        }
        self.input.consume(count);
    }
}

fn damaged(why: &str) -> BackupError {
    BackupError::Damaged(why.to_owned())
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
