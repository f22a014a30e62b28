//! House rules
