//! What a restore is told beside the backup: ledgers, which say what must not come back (docs/spec/ledger.md §4), and the clock
//! of the machine, which has to be right (docs/spec/backup.md §5).

use std::path::{Path, PathBuf};

use audit::{LedgerError, salvage_ledger};
use state::rows::QuarantineReason;
use state::{Accounted, State};
use types::{Millis, SpkiHash, Time};

use super::BackupError;

/// How far a clock may be behind what it should be later than: machines differ by that much.
const BEHIND_MAX: Millis = Millis::from_hours(1);
/// How much later than everything that is known a restore may be. More is rather a clock that is wrong.
const AHEAD_MAX: Millis = Millis::from_days(60);

/// A ledger that was held against the backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldLedger {
    /// Where it lies.
    pub path: PathBuf,
    /// The life and the entry up to which it knows everything.
    pub upto: (u64, u64),
    /// Bytes of a write that was cut off, which nobody was told of.
    pub torn: u64,
    /// What is wrong with it; what stands before that was carried out.
    pub damage: Option<LedgerError>,
}

/// What came of all ledgers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accounting {
    /// Each.
    pub ledgers: Vec<HeldLedger>,
    /// How many things the backup would have brought back.
    pub applied: u64,
    /// Why the namespaces are quarantined all the same, if they are.
    pub quarantine: Option<QuarantineReason>,
}

/// Holds the ledgers against the state of a backup whose cluster key has that hash.
///
/// # Errors
/// When one cannot be read, or is not this cluster's from its first line on; when nobody could administer what came of it.
pub(super) fn account(
    state: &State,
    paths: &[PathBuf],
    cluster_key: SpkiHash,
) -> Result<(Accounted, Accounting), BackupError> {
    let mut read = Vec::new();
    for path in paths {
        let bytes = std::fs::read(path).map_err(BackupError::io(path))?;
        read.push(salvage_ledger(&bytes, Some(cluster_key)).map_err(|source| unusable(path, source))?);
    }
    let accounted = state.account_for(&read)?;
    let held = |(path, (ledger, damage)): (&PathBuf, _)| {
        let (ledger, damage): (audit::Ledger, Option<LedgerError>) = (ledger, damage);
        let (generation, index) = ledger.end.marked;
        HeldLedger { path: path.clone(), upto: (generation.get(), index), torn: ledger.torn, damage }
    };
    let ledgers = paths.iter().zip(read).map(held).collect();
    let accounting = Accounting { ledgers, applied: accounted.applied, quarantine: accounted.quarantine };
    Ok((accounted, accounting))
}

fn unusable(path: &Path, source: LedgerError) -> BackupError {
    BackupError::Ledger { path: path.to_owned(), source }
}

/// Refuses a clock that cannot be right: state time goes on from it, and what it ends stays ended.
///
/// # Errors
/// [`BackupError::Clock`], saying which way it is wrong.
pub(super) fn check_clock(now: Time, made: Time, state_time: Time) -> Result<(), BackupError> {
    let known = made.max(state_time);
    let wrong = |why: String| Err(BackupError::Clock { now, why });
    if now.after(BEHIND_MAX) < known {
        return wrong(format!(
            "behind {}, when the backup was made or the cluster was last heard of",
            known.to_rfc3339()
        ));
    }
    if now > known.after(AHEAD_MAX) {
        let days = now.since(known).0 / Millis::from_days(1).0;
        return wrong(format!("{days} days after {}, the last that is known of the cluster", known.to_rfc3339()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(now: u64, made: u64, state_time: u64) -> bool {
        check_clock(Time(now), Time(made), Time(state_time)).is_ok()
    }

    #[test]
    fn a_clock_that_cannot_be_right_is_refused() {
        let (day, at) = (Millis::from_days(1).0, 1_795_305_600_000);
        assert!(judged(at, at, at) && judged(at + 60 * day, at, at) && judged(at - Millis::from_hours(1).0, at, at));
        assert!(!judged(at - Millis::from_hours(1).0 - 1, at, at), "behind the maker's clock");
        assert!(!judged(at, at - day, at + day), "behind state time");
        assert!(!judged(at + 60 * day + 1, at, at) && !judged(0, at, at), "absurdly ahead, and not set at all");
        assert!(judged(at + 90 * day, at, at + 40 * day), "what a ledger has seen counts");
    }
}
