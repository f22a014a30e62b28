//! The workload agent
