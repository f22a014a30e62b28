//! A Python with the third-party packages of `requirements.txt`, in a virtual environment under `target/`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter; makes the environment on first use. `None`, loudly, where Python or its package index is missing.
#[must_use]
pub fn interpreter(check: &str) -> Option<PathBuf> {
    let folder = crate::workspace().join("target/interop-venv");
    std::fs::create_dir_all(&folder).expect("target may be written");
    // Tests of several processes share the environment; one of them makes it.
    let lock = File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("locks");
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements.txt");
    let wanted = std::fs::read(&requirements).expect("requirements");
    let (python, installed) = (folder.join("bin/python"), folder.join("installed.txt"));
    if std::fs::read(&installed).is_ok_and(|found| found == wanted) {
        return Some(python);
    }
    let made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder.join("."))).and_then(|()| {
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements))
    });
    match made {
        Ok(()) => {
            std::fs::write(&installed, &wanted).expect("target may be written");
            Some(python)
        }
        Err(why) => {
            crate::skipped(check, &why);
            None
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(format!("{}: {error}", command.get_program().display())),
    }
}
