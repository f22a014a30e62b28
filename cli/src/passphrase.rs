//! Passphrases: from a file or a prompt, never from the command line or a variable, which other processes can read.

use std::io::IsTerminal as _;
use std::path::Path;

use chancery_client::private_file;
use crypto::SecretBytes;

/// Longest passphrase.
const PASSPHRASE_BYTES_MAX: usize = 1_024;

/// Asks for a passphrase that exists already.
///
/// # Errors
/// When there is neither a file nor a terminal, in words for the user.
pub(crate) fn existing(file: Option<&Path>, prompt: &str) -> Result<SecretBytes, String> {
    match file {
        Some(path) => from_file(path),
        None => prompted(prompt),
    }
}

/// Asks for a new passphrase, twice at a terminal.
///
/// # Errors
/// When there is neither a file nor a terminal, it is empty, or the two differ.
pub(crate) fn new(file: Option<&Path>, prompt: &str) -> Result<SecretBytes, String> {
    let passphrase = existing(file, prompt)?;
    if passphrase.is_empty() {
        return Err("the passphrase is empty".to_owned());
    }
    if file.is_none() && prompted("again: ")?.expose() != passphrase.expose() {
        return Err("the two passphrases differ".to_owned());
    }
    Ok(passphrase)
}

/// The first line of a file that nobody else may read.
fn from_file(path: &Path) -> Result<SecretBytes, String> {
    let content = SecretBytes::from_vec(private_file::read(path).map_err(|error| error.to_string())?);
    let line = content.expose().split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > PASSPHRASE_BYTES_MAX {
        return Err(format!("the passphrase in `{}` is longer than {PASSPHRASE_BYTES_MAX} bytes", path.display()));
    }
    Ok(SecretBytes::from_vec(line.to_vec()))
}

fn prompted(prompt: &str) -> Result<SecretBytes, String> {
    if !std::io::stdin().is_terminal() {
        return Err("there is no terminal to ask on: name a file of mode 0600 in CHANCERY_PASSPHRASE_FILE".to_owned());
    }
    let text =
        rpassword::prompt_password(prompt).map_err(|error| format!("the passphrase could not be read: {error}"))?;
    Ok(SecretBytes::from_vec(text.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_first_line_when_nobody_else_can_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("passphrase");
        private_file::write(&path, b"correct horse\r\nbattery\n").expect("writes");
        assert_eq!(existing(Some(&path), "").expect("reads").expose(), b"correct horse");
        private_file::write(&path, b"\n").expect("writes");
        assert!(new(Some(&path), "").is_err(), "a new passphrase is not empty");
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(existing(Some(&path), "").expect_err("loose").contains("chmod"));
    }
}
