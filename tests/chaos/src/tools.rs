//! What this machine can do: the programs and privileges that faults need. A missing one is named, never worked around.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Fault;

/// Where Debian's faketime puts its library; preloaded directly, so that no process stands between us and the node.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// Something a scenario cannot do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Root, in a machine that lets it mount.
    Mounts,
    /// Loop devices, mkfs.ext4, and python3 for one ioctl.
    LoopMounts,
    /// `ip netns` and iptables.
    Namespaces,
    /// strace that may attach.
    Strace,
    /// libfaketime.
    Faketime,
    /// `--other`: another build of `chancery`.
    AnotherBuild,
}

/// Where a scenario finds the other build.
pub(crate) const OTHER: &str = "CHAOS_OTHER";

impl Need {
    /// Why this machine lacks it; nothing when it does not.
    pub(crate) fn missing(self, scratch: &Path, variables: &[(&str, &OsStr)]) -> Option<String> {
        let root = (!rustix::process::geteuid().is_root()).then(|| "only root may do this".to_owned());
        match self {
            Self::Mounts => root.or_else(|| absent(&["mount", "umount"])).or_else(|| tmpfs_refused(scratch)),
            Self::LoopMounts => root
                .or_else(|| absent(&["mount", "umount", "mkfs.ext4", "losetup", "python3"]))
                .or_else(|| loop_refused(scratch)),
            Self::Namespaces => root.or_else(|| absent(&["ip", "iptables"])).or_else(netns_refused),
            Self::AnotherBuild => (!variables.iter().any(|(name, _)| *name == OTHER))
                .then(|| "it was given no other build: name one with --other".to_owned()),
            Self::Strace => root.or_else(|| absent(&["strace"])).or_else(strace_refused),
            Self::Faketime => {
                faketime().is_none().then(|| "libfaketime is not installed (Debian: faketime)".to_owned())
            }
        }
    }
}

/// The library that shifts a process's clock.
pub(crate) fn faketime() -> Option<&'static str> {
    FAKETIME.into_iter().find(|path| Path::new(path).exists())
}

/// The other build of `chancery` that a scenario was given.
pub(crate) fn other() -> Option<PathBuf> {
    std::env::var_os(OTHER).map(PathBuf::from)
}

/// Runs a program to its end; its words are the error.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Result<String, Fault> {
    let output = Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// Runs a program whose arguments hold no spaces.
pub(crate) fn run_words(line: &str) -> Result<String, Fault> {
    let mut words = line.split_whitespace();
    run(words.next().ok_or("no program")?, words)
}

fn absent(programs: &[&str]) -> Option<String> {
    let folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default();
    let has = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !has(program)).collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

fn tmpfs_refused(scratch: &Path) -> Option<String> {
    let at = scratch.join("probe-tmpfs");
    let tried = std::fs::create_dir_all(&at).map_err(Fault::from).and_then(|()| {
        run(
            "mount",
            ["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), "size=1m".as_ref(), "none".as_ref(), at.as_os_str()],
        )?;
        run("umount", [&at])
    });
    tried.err().map(|error| format!("this machine refuses a tmpfs: {error}"))
}

fn loop_refused(scratch: &Path) -> Option<String> {
    let (image, at) = (scratch.join("probe-image"), scratch.join("probe-loop"));
    let tried = || -> Result<(), Fault> {
        std::fs::create_dir_all(&at)?;
        std::fs::File::create(&image)?.set_len(8 << 20)?;
        run("mkfs.ext4", ["-q".as_ref(), "-F".as_ref(), image.as_os_str()])?;
        run("mount", ["-o".as_ref(), "loop".as_ref(), image.as_os_str(), at.as_os_str()])?;
        run("umount", [&at])?;
        Ok(std::fs::remove_file(&image)?)
    };
    tried().err().map(|error| format!("this machine refuses a loop mount: {error}"))
}

fn netns_refused() -> Option<String> {
    let name = format!("chaosprobe{}", std::process::id());
    let tried = run("ip", ["netns", "add", &name])
        .and_then(|_| run("ip", ["netns", "exec", &name, "iptables", "-w", "-L", "-n"]));
    let _ = run("ip", ["netns", "del", &name]);
    tried.err().map(|error| format!("this machine refuses a network namespace with a filter: {error}"))
}

fn strace_refused() -> Option<String> {
    let tried = run("strace", ["-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", "true"]);
    tried.err().map(|error| format!("strace cannot trace here: {error}"))
}
