//! Searching files for secrets, in every form in which they could have been written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A needle is at least this long, so that it is nowhere by chance.
const BYTES_MIN: usize = 12;

/// What must not be found.
#[derive(Default)]
pub(crate) struct Needles {
    forms: Vec<(String, Vec<u8>)>,
}

impl Needles {
    /// Adds a secret: its bytes, their hexadecimal and base64 forms, and how `Debug` prints a list of bytes.
    pub(crate) fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= BYTES_MIN, "{name} is too short to be looked for");
        self.form(name, "bytes", secret.to_vec());
        self.form(name, "hex", hex::encode(secret).into_bytes());
        self.form(name, "HEX", hex::encode_upper(secret).into_bytes());
        // The last character of a text without padding also stands for what follows, so it is left out.
        let cut = |text: String| text.as_bytes()[..text.len() - 2].to_vec();
        self.form(name, "base64", cut(STANDARD_NO_PAD.encode(secret)));
        self.form(name, "base64url", cut(URL_SAFE_NO_PAD.encode(secret)));
        let listed: Vec<String> = secret.iter().map(u8::to_string).collect();
        self.form(name, "list of bytes", listed.join(", ").into_bytes());
        self.form(name, "escaped bytes", secret.escape_ascii().to_string().into_bytes());
    }

    fn form(&mut self, name: &str, form: &str, bytes: Vec<u8>) {
        self.forms.push((format!("{name} as {form}"), bytes));
    }

    /// The names of what is in `haystack`.
    pub(crate) fn found_in(&self, haystack: &[u8]) -> BTreeSet<&str> {
        // Most positions are passed over by a look at two bytes: a debug build searches megabytes of logs here.
        let mut begins = vec![false; 1 << 16];
        for (_, needle) in &self.forms {
            begins[usize::from(needle[0]) << 8 | usize::from(needle[1])] = true;
        }
        let mut found = BTreeSet::new();
        for (at, pair) in haystack.windows(2).enumerate() {
            if begins[usize::from(pair[0]) << 8 | usize::from(pair[1])] {
                let here = self.forms.iter().filter(|(_, needle)| haystack[at..].starts_with(needle));
                found.extend(here.map(|(name, _)| name.as_str()));
            }
        }
        found
    }
}

/// Every regular file under a folder.
pub(crate) fn files_under(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("lists") {
            let entry = entry.expect("an entry");
            match entry.file_type().expect("a type") {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}
