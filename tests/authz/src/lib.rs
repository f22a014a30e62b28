//! What may be called by whom, written out: each test renders a table and compares it with a reviewed text file beside it.
//!
//! After an intended change run the tests with `UPDATE_EXPECT=1` and read the difference as carefully as the code: a line that appears is
//! a right that somebody gained. It decides nothing itself; `policy` does.

pub mod endpoints;
