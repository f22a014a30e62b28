//! The two judges of a history.

pub mod oracle;
pub mod register;
