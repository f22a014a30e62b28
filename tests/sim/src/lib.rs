//! Tier A simulation
