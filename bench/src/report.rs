//! Figures as people and programs read them: lines on stdout, target/bench.json, docs/BENCHMARKS.md.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::{Effort, Fault};

/// One figure beside its peer's.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) name: String,
    /// Ours, median.
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// The peer.
    pub(crate) against: String,
    /// The peer's, median, in the same unit.
    pub(crate) against_value: f64,
    /// Better is higher: the peer's cost divided by ours, or our rate by the peer's. Median of each run's ratio.
    pub(crate) ratio: f64,
}

/// The middle one; of an even number, the lower of the two. NaN of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// As a table on stdout.
pub(crate) fn print(rows: &[Row]) {
    for Row { name, value, unit, against, against_value, ratio } in rows {
        println!(
            "{name:<52} {:>9} {unit:<14} {:>9} {against:<40} ratio {ratio:.3}",
            short(*value),
            short(*against_value)
        );
    }
}

/// For programs.
pub(crate) fn write_json(path: &Path, rows: &[Row]) -> Result<(), Fault> {
    Ok(std::fs::write(path, serde_json::to_string_pretty(rows)? + "\n")?)
}

/// For people.
pub(crate) fn write_markdown(
    path: &Path,
    host: &[(&'static str, String)],
    rows: &[Row],
    effort: Effort,
) -> Result<(), Fault> {
    let mut text = PREFACE.to_owned();
    for (name, value) in host {
        writeln!(text, "- {name}: {value}")?;
    }
    writeln!(text, "- command: `make bench`; medians of {} interleaved runs of {:?} each", effort.runs, effort.window)?;
    writeln!(text, "\n| what | ours | peer's | unit | peer | ratio |\n|---|--:|--:|---|---|--:|")?;
    for Row { name, value, unit, against, against_value, ratio } in rows {
        let (value, against_value) = (short(*value), short(*against_value));
        writeln!(text, "| {name} | {value} | {against_value} | {unit} | {against} | {ratio:.3} |")?;
    }
    text.push_str(READING);
    Ok(std::fs::write(path, text)?)
}

/// Three digits that matter, more only before the point.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

const PREFACE: &str = "\
# Benchmarks

Written by `make bench`; do not edit. A ratio is better-is-higher: the peer's cost divided by ours, or our rate divided by
the peer's. Both are measured in the same run, in turns, so a ratio says more than either figure: figures are of the
machine below, shared with the caller that makes the load.

";

const READING: &str = "
How to read it

- **Encrypt, Decrypt**: CPU of the serving process per call, user and kernel, as the kernel counts it; background work such as
  the search index is in it. The peer is tonic over the same mutual TLS with the same messages and no work in between. What
  a node does beyond it: recognises the caller's key, asks policy, derives the message key and seals, checks its lease,
  and has one audit record on disk, synced, before it answers. The rates (`wall`) include the caller's work on the same
  cores; with few calls in flight a node's rate is the disk's sync rate, because no answer leaves before its record is
  durable.
- **A key with many versions**: CPU of the serving process per call, beside the same call with a key of one version, in turns.
- **Files**: a cached file through the SDK's streaming, whole process, against the same cipher over memory. To a file means
  written, synced and renamed. Peak memory is that of the process (VmHWM), and does not grow with the file.
- **Keys at scale**: one member over real files, sealed and synced, with that many keys in its state, while 16 changes are
  under way: the longest time between two applied entries, with a snapshot being written and without; then processes that
  start from the snapshot and as much log as there may be before the next: the median, and the highest peak memory (VmHWM).
  Without the server around them.
- **CreateKey**: an entry in the Raft log of each node of a majority and a record in its audit log, both synced. The peer
  is the least that any durable write costs: 512 bytes appended and one fdatasync for all that wait. The other, where its
  binary was given, is etcd with as many members and TLS between all of them, `put` of 256 bytes of key and value: the same
  callers over as many connections, in turns, on the same disk and cores. A key's entry is longer (material under the
  namespace's key, sealed again for the disk), and its audit record is synced too, which etcd has none of.
";
