//! What machine this is, as far as figures depend on it. No host name: figures are published.

use std::path::Path;

/// Names and values, for people.
pub(crate) fn facts(folder: &Path) -> Vec<(&'static str, String)> {
    let first = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.map_or_else(|| "unknown".to_owned(), |rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("processor", format!("{}, {cores} usable", first("/proc/cpuinfo", "model name"))),
        ("memory", first("/proc/meminfo", "MemTotal")),
        ("kernel", std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()),
        ("file system", file_system(folder)),
        (
            "load before, 1 minute",
            std::fs::read_to_string("/proc/loadavg").map_or_else(|_| "unknown".to_owned(), one_minute),
        ),
        ("date", time::OffsetDateTime::now_utc().date().to_string()),
    ]
}

/// The first field: how many tasks wanted a core before the bench began. Far from 0, wall rates say little.
fn one_minute(loads: String) -> String {
    loads.split(' ').next().unwrap_or_default().to_owned()
}

/// The type of the mount that holds `folder`: the one with the longest matching path.
fn file_system(folder: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(1).map(str::to_owned);
        Some((fields.next()?, fields.next()?))
    };
    let holding = mounts.lines().filter_map(mount).filter(|(at, _)| folder.starts_with(at));
    holding.max_by_key(|(at, _)| at.len()).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind)
}
