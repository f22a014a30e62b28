//! Facts that cannot be quietly changed
