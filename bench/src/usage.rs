//! What a process has used so far, as the kernel counts it: CPU time of all its threads, and its peak resident memory.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::Fault;

/// A reading; the difference of two is what lay between them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// In user and kernel mode: the sum that getrusage(2) splits in two, in nanoseconds instead of ticks.
    cpu: Duration,
    /// Peak resident memory since the start, KiB (VmHWM).
    pub(crate) peak_kib: u64,
}

impl Usage {
    /// Of this process, all threads, ended ones too.
    pub(crate) fn now() -> Result<Self, Fault> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM: not on Linux?")?;
        Ok(Self {
            cpu: Duration::new(u64::try_from(cpu.tv_sec)?, u32::try_from(cpu.tv_nsec)?),
            peak_kib: peak.trim().trim_end_matches(" kB").parse()?,
        })
    }

    /// CPU time since `before`.
    pub(crate) fn cpu_since(&self, before: &Self) -> Duration {
        self.cpu.saturating_sub(before.cpu)
    }
}
