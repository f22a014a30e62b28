//! The inputs that are worth mutating: each took an edge, or took one as often, that none before it had.

use std::io;
use std::path::Path;

/// What every execution so far has covered.
#[derive(Default)]
pub struct Coverage {
    /// For each edge, in which of eight ranges its count has been.
    seen: Vec<u8>,
    /// Edges taken at all.
    pub edges: usize,
}

/// Counters are skipped over in blocks.
const BLOCK: usize = 512;

impl Coverage {
    /// Whether these counters show something new; remembers it.
    pub fn is_new(&mut self, counters: &[u8]) -> bool {
        self.seen.resize(counters.len(), 0);
        let mut new = false;
        for (counted, seen) in counters.chunks(BLOCK).zip(self.seen.chunks_mut(BLOCK)) {
            if counted == &[0; BLOCK][..counted.len()] {
                continue;
            }
            for (count, seen) in counted.iter().zip(seen).filter(|(count, _)| **count != 0) {
                let range = range(*count);
                if *seen & range == 0 {
                    self.edges += usize::from(*seen == 0);
                    *seen |= range;
                    new = true;
                }
            }
        }
        new
    }
}

/// 1, 2, 3, then doubling: a loop that runs once more is not news, one that runs twice as often is.
const fn range(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..8 => 8,
        8..16 => 16,
        16..32 => 32,
        32..128 => 64,
        128.. => 128,
    }
}

/// The inputs in a folder, shortest first; none when there is no folder.
///
/// # Errors
/// A file that cannot be read.
pub fn read(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        found.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
    }
    found.sort_by(|a, b| (a.1.len(), &a.0).cmp(&(b.1.len(), &b.0)));
    Ok(found)
}

/// Writes an input under a name that its content gives it.
///
/// # Errors
/// What the disk says.
pub fn write(folder: &Path, input: &[u8]) -> io::Result<std::path::PathBuf> {
    std::fs::create_dir_all(folder)?;
    let name: String = crypto::hash::sha256(input).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(name);
    std::fs::write(&path, input)?;
    Ok(path)
}
