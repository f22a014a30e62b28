//! The folder of backups that a node keeps: written whole or not at all, old ones gone only after the new one was read back.
//!
//! What is no complete backup of this node is neither counted nor touched; one that this code was writing when it died is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use types::Time;

use super::manifest::Manifest;
use super::read::peek;
use super::{BackupError, inspect};

/// How the names of complete backups end.
const COMPLETE: &str = "chybackup";
/// How the name of one that is being written ends.
const PARTIAL: &str = "chybackup-partial";

/// A complete backup in a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Its file name.
    pub name: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// What it says of itself; none when that does not read.
    pub manifest: Option<Manifest>,
}

/// The backups of a folder, newest first by their names; blocks. Read no further than the manifest: whether a file is sound
/// is [`inspect`]'s to say.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Kept>, BackupError> {
    let mut names = names(folder).map_err(BackupError::io(folder))?;
    names.reverse();
    let kept = |name: String| {
        let path = folder.join(&name);
        let bytes = fs::metadata(&path).map_err(BackupError::io(&path))?.len();
        let manifest = peek(&path).ok();
        Ok(Kept { name, bytes, manifest })
    };
    names.into_iter().map(kept).collect()
}

/// Writes a backup of that manifest into the folder and returns its name; blocks. `fill` writes it.
///
/// # Errors
/// When the disk refuses or what was written does not read back: nothing of it is left, and the old ones stay.
pub(crate) fn keep(
    folder: &Path,
    manifest: &Manifest,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<String, BackupError> {
    fs::create_dir_all(folder).map_err(BackupError::io(folder))?;
    remove_partial(folder, manifest.node).map_err(BackupError::io(folder))?;
    let name = name_of(manifest);
    let partial = folder.join(&name).with_extension(PARTIAL);
    let written = write_whole(folder, &name, &partial, manifest, fill);
    if written.is_err() {
        // What cannot be removed now is removed by the next attempt.
        let _ = fs::remove_file(&partial);
    }
    written.map(|()| name)
}

fn write_whole(
    folder: &Path,
    name: &str,
    partial: &Path,
    manifest: &Manifest,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), BackupError> {
    let failed = BackupError::io(partial);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial).map_err(&failed)?;
    let mut out = io::BufWriter::with_capacity(1 << 18, file);
    fill(&mut out).map_err(&failed)?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(&failed)?;
    if inspect(partial, &mut |_| {})?.manifest != *manifest {
        return Err(BackupError::Damaged("what was written is not what reads back".to_owned()));
    }
    fs::rename(partial, folder.join(name)).map_err(BackupError::io(folder))?;
    sync(folder)
}

/// Removes the oldest backups of the same node and cluster but the newest `keep`; says how many. Blocks. A file that does
/// not read to its end is none, so it is neither counted nor removed.
///
/// # Errors
/// When the folder cannot be read or a file not removed.
pub(crate) fn trim(folder: &Path, like: &Manifest, keep: usize) -> Result<usize, BackupError> {
    let ours = |kept: &Kept| kept.manifest.as_ref().is_some_and(|manifest| is_alike(manifest, like));
    let mut own: Vec<Kept> = list(folder)?.into_iter().filter(ours).collect();
    own.sort_by_key(|kept| std::cmp::Reverse(created(kept)));
    let mut sound = 0;
    let mut surplus = Vec::new();
    for kept in own {
        if sound >= keep.max(1) {
            surplus.push(kept);
        } else if inspect(&folder.join(&kept.name), &mut |_| {}).is_ok() {
            sound += 1;
        } else {
            tracing::error!(name = kept.name, "a backup in the folder is damaged; it does not count");
        }
    }
    for kept in &surplus {
        fs::remove_file(folder.join(&kept.name)).map_err(BackupError::io(folder))?;
    }
    if !surplus.is_empty() {
        sync(folder)?;
    }
    Ok(surplus.len())
}

/// When the newest backup of that node and cluster in the folder was made; blocks.
pub(crate) fn newest(folder: &Path, cluster: &str, node: u64) -> Option<Time> {
    let mine = |kept: &Kept| kept.manifest.as_ref().is_some_and(|m| m.cluster_id == cluster && m.node == node);
    list(folder).ok()?.iter().filter(|kept| mine(kept)).map(|kept| Time(created(kept))).max()
}

fn is_alike(one: &Manifest, other: &Manifest) -> bool {
    one.cluster_id == other.cluster_id && one.node == other.node
}

fn created(kept: &Kept) -> u64 {
    kept.manifest.as_ref().map_or(0, |manifest| manifest.created_time_ms)
}

/// `chancery-20261122T231500.000Z-node-1.chybackup`: names sort by time.
fn name_of(manifest: &Manifest) -> String {
    let time: String =
        Time(manifest.created_time_ms).to_rfc3339().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("chancery-{time}-node-{}.{COMPLETE}", manifest.node)
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == COMPLETE)
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What this node was writing when it died. Another node may be writing into the same folder.
fn remove_partial(folder: &Path, node: u64) -> io::Result<()> {
    let end = format!("-node-{node}.{PARTIAL}");
    for entry in fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(&end)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn sync(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(BackupError::io(folder))
}
