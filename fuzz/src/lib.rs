//! Every decoder of bytes that come from outside of a trust boundary or from a disk, and a fuzzer that runs them.
//!
//! [`targets`] says what is decoded and what must hold of it; [`engine`] runs them and knows nothing of it. `make fuzz` runs all of them;
//! the tests of this crate replay the committed seeds, without coverage. Nothing imports this crate.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a target that cannot go on has found something"
)]

pub mod engine;
pub mod targets;
