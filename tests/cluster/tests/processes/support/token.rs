//! A token in software (SoftHSM 2), for nodes with the pkcs11 seal.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::private;

/// Where distributions put the module.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];
const LABEL: &str = "chancery";

/// A token that was just made, with nothing in it.
pub(crate) struct Token {
    /// SoftHSM's own settings: where its tokens lie.
    pub(crate) store: PathBuf,
    /// The node's settings, which name the token.
    pub(crate) settings: PathBuf,
    /// Its PIN.
    pub(crate) pin: PathBuf,
    /// What it lies in.
    pub(crate) folder: PathBuf,
}

impl Token {
    /// Makes one under that folder; none where SoftHSM is not installed.
    pub(crate) fn new(folder: &Path, pin: &str) -> Option<Self> {
        let module = MODULES.into_iter().find(|module| Path::new(module).exists())?;
        let (tokens, store) = (folder.join("tokens"), folder.join("softhsm2.conf"));
        std::fs::create_dir(&tokens).expect("a folder");
        let said = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
        std::fs::write(&store, said).expect("writes");
        let pin_file = private(folder.join("pin"), pin);
        let settings = format!(
            "[seal.pkcs11]\nmodule = \"{module}\"\ntoken = \"{LABEL}\"\npin_file = \"{}\"\n",
            pin_file.display()
        );
        let settings = private(folder.join("chancery.toml"), &settings);
        let token = Self { store, settings, pin: pin_file, folder: tokens };
        token.initialise(pin).then_some(token)
    }

    /// Makes the token; false where SoftHSM's tools are not installed.
    pub(crate) fn initialise(&self, pin: &str) -> bool {
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", LABEL, "--so-pin", "87654321", "--pin", pin])
            .env("SOFTHSM2_CONF", &self.store)
            .output();
        match made {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                true
            }
            Err(_) => false,
        }
    }
}
