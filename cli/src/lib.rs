//! The chancery binary
