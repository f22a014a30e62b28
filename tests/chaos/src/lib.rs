//! Judges what a cluster answered while it was being broken: histories of calls on keys, and two ways to find a lie in them.
//!
//! [`check::register`] asks whether some order of the calls explains every answer (linearizability, per key);
//! [`check::oracle`] asks cheap questions of every single answer, so that a failure names the call that lied. Nothing here
//! starts a process or reads a clock: the binary beside it does.

pub mod check;
pub mod history;
