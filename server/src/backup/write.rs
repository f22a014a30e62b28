//! Writes a backup in one pass: manifest, sealed body, seal (docs/spec/backup.md §2). What goes into it is handed in.

use std::io::{self, Write};

use crypto::SecretBytes;
use crypto::hash::Sha256;
use crypto::recipients::{self, Recipient};
use crypto::sign::P256Signer;
use state::State;

use super::manifest::Manifest;
use super::probe::Probe;
use super::section::SectionWriter;
use super::{END, MAGIC, MANIFEST_BYTES_MAX, RootKey, SEAL_BYTES, SIGNATURE_BYTES_MAX, statement};

/// Everything that a backup holds but the leaves of the audit log.
pub(super) struct Content<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) recipients: &'a [Recipient],
    /// Holds the cluster key.
    pub(super) signer: &'a P256Signer,
    pub(super) roots: &'a [RootKey],
    pub(super) probes: &'a [Probe],
    pub(super) state: &'a State,
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Written {
    /// Bytes of the whole file.
    pub(crate) bytes: u64,
    /// SHA-256 of the sealed body.
    pub(crate) body_sha256: [u8; 32],
}

/// Takes the leaves of the audit log one after the other and hands each to the writer that it is given.
pub(super) type Leaves<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;

/// Writes the backup; blocks.
pub(super) fn write<W: Write>(out: &mut W, content: &Content<'_>, leaves: Leaves<'_>) -> io::Result<Written> {
    let manifest = content.manifest.to_bytes()?;
    let length = u32::try_from(manifest.len()).ok().filter(|length| *length <= MANIFEST_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("the manifest is too long"))?;
    let front = [&MAGIC[..], &length.to_be_bytes(), &manifest].concat();
    out.write_all(&front)?;
    let front_sha256 = crypto::hash::sha256(&front);

    let counted = Hashing { out, hash: Sha256::new(), bytes: 0 };
    let mut body = recipients::seal(content.recipients, counted)?;
    head(&mut body, &front_sha256, content)?;
    let mut section = SectionWriter::new(&mut body);
    state::write_snapshot(content.state, &mut |bytes| section.take(bytes))?;
    section.finish()?;
    let mut section = SectionWriter::new(&mut body);
    leaves(&mut |leaf| {
        let length = u32::try_from(leaf.len()).map_err(io::Error::other)?;
        section.take(&length.to_be_bytes())?;
        section.take(leaf)
    })?;
    section.finish()?;
    let Hashing { out, hash, bytes } = body.finish()?;

    let body_sha256 = hash.finish();
    out.write_all(&seal(content.signer, &front_sha256, &body_sha256, bytes)?)?;
    out.flush()?;
    let rest = u64::try_from(front.len() + SEAL_BYTES).map_err(io::Error::other)?;
    Ok(Written { bytes: bytes.saturating_add(rest), body_sha256 })
}

/// The root keys and the probes. The keys are in clear here and nowhere else, in memory that wipes itself.
fn head(body: &mut dyn Write, front_sha256: &[u8; 32], content: &Content<'_>) -> io::Result<()> {
    let probes = postcard::to_stdvec(content.probes).map_err(io::Error::other)?;
    let count = u8::try_from(content.roots.len()).map_err(io::Error::other)?;
    let mut head = SecretBytes::with_capacity(front_sha256.len() + 1 + content.roots.len() * 36 + probes.len());
    head.extend_from_slice(front_sha256);
    head.extend_from_slice(&[count]);
    for root in content.roots {
        head.extend_from_slice(&root.epoch.to_be_bytes());
        head.extend_from_slice(root.key.expose());
    }
    head.extend_from_slice(&probes);
    let mut section = SectionWriter::new(body);
    section.take(head.expose())?;
    section.finish()
}

/// The last bytes of the file: hashes, and the cluster key's word for them.
fn seal(signer: &P256Signer, front: &[u8; 32], body: &[u8; 32], bytes: u64) -> io::Result<Vec<u8>> {
    let hashes = [&front[..], &body[..], &bytes.to_be_bytes()].concat();
    let mut signature = signer.sign(&statement(&hashes));
    let length = u8::try_from(signature.len()).map_err(io::Error::other)?;
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(io::Error::other("the signature is too long"));
    }
    signature.resize(SIGNATURE_BYTES_MAX, 0);
    Ok([&hashes[..], &[length], &signature, &END].concat())
}

/// Counts and hashes what passes.
struct Hashing<'a, W> {
    out: &'a mut W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
