//! Facts that cannot be quietly changed: audit records, their one encoding, the Merkle log they stand in, proofs and
//! offline verification. The formats are those of docs/spec/audit.md.
//!
//! Nothing here touches a file, a socket or a clock: time is a field of the event, leaves are handed in as bytes.
//! Storing them durably is the server's `audit_store`; the cluster log's [`Frontier`] lives in replicated state.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod detail;
pub mod frontier;
pub mod hash;
pub mod head;
pub mod leaf;
pub mod ledger;
pub mod proof;
pub mod record;
pub mod text;
pub mod verify;

pub use detail::{Detail, Fact};
pub use frontier::Frontier;
pub use hash::{Hash, leaf_hash};
pub use head::{Checkpoint, Head};
pub use leaf::LeafError;
pub use ledger::{Ledger, LedgerEnd, LedgerError, LedgerFact, LedgerLine, LedgerReader, salvage_ledger, verify_ledger};
pub use record::{Event, LogName, Outcome, Record};
pub use text::Text;
pub use verify::{Finding, Report, verify_log};
