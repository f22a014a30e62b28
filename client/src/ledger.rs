//! What an answer says of the ledger: the file outside of the cluster by which a restore knows what must not come back
//! (docs/spec/ledger.md §3).

/// Answer: whether a ledger knows of the change.
pub const LEDGER: &str = "x-chancery-ledger";
/// The one value of [`LEDGER`]: the change took something away, and the node that made it keeps no ledger.
pub const LEDGER_NONE: &str = "none";
