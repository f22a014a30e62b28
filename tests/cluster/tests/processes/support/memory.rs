//! The memory of a running process, as a debugger of root sees it.

use std::fs::File;
use std::io::Error;
use std::os::unix::fs::FileExt as _;

/// One mapping of a process, with what it held at that moment.
pub(crate) struct Mapping {
    /// Its line of `/proc/PID/maps`.
    pub(crate) name: String,
    /// The kernel's flags for it (proc(5), `VmFlags`).
    flags: Vec<String>,
    /// What could be read of it: nothing of `memfd_secret` pages, whoever asks.
    pub(crate) bytes: Vec<u8>,
}

impl Mapping {
    /// Neither swapped nor dumped nor handed to a child: where secrets belong.
    pub(crate) fn is_locked(&self) -> bool {
        ["lo", "dd", "dc"].iter().all(|wanted| self.flags.iter().any(|flag| flag == wanted))
    }
}

/// Every mapping that the process can write to. None, with the reason, for whoever may not look.
pub(crate) fn of(pid: u32) -> Result<Vec<Mapping>, Error> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let described = std::fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let mut mappings: Vec<(std::ops::Range<u64>, Mapping)> = Vec::new();
    for line in described.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if let Some((_, mapping)) = mappings.last_mut() {
                mapping.flags = flags.split_whitespace().map(str::to_owned).collect();
            }
        } else if let Some(range) = range(line) {
            mappings.push((range, Mapping { name: line.to_owned(), flags: Vec::new(), bytes: Vec::new() }));
        }
    }
    mappings.retain(|(_, mapping)| mapping.flags.iter().any(|flag| flag == "wr"));
    for (range, mapping) in &mut mappings {
        mapping.bytes = vec![0; usize::try_from(range.end - range.start).expect("fits")];
        // What was unmapped meanwhile, or belongs to no debugger, holds nothing to be found.
        if memory.read_exact_at(&mut mapping.bytes, range.start).is_err() {
            mapping.bytes.clear();
        }
    }
    Ok(mappings.into_iter().map(|(_, mapping)| mapping).collect())
}

fn range(line: &str) -> Option<std::ops::Range<u64>> {
    let (from, to) = line.split_whitespace().next()?.split_once('-')?;
    Some(u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?)
}
