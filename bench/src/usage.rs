//! What a process has used so far, as the kernel counts it: getrusage(2) and the peak of its resident memory.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use crate::Fault;

/// A reading; the difference of two is what lay between them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    user_us: u64,
    system_us: u64,
    /// Peak resident memory since the start, KiB (VmHWM).
    pub(crate) peak_kib: u64,
}

impl Usage {
    /// Of this process, all threads.
    pub(crate) fn now() -> Result<Self, Fault> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM: not on Linux?")?;
        Ok(Self {
            user_us: u64::try_from(usage.user_time().num_microseconds())?,
            system_us: u64::try_from(usage.system_time().num_microseconds())?,
            peak_kib: peak.trim().trim_end_matches(" kB").parse()?,
        })
    }

    /// CPU time since `before`, in user and kernel mode together.
    pub(crate) fn cpu_since(&self, before: &Self) -> Duration {
        Duration::from_micros((self.user_us + self.system_us).saturating_sub(before.user_us + before.system_us))
    }
}
