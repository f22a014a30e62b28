//! What became of a scenario, for people and for programs.

use serde::{Deserialize, Serialize};

/// One row of the table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Its name on the command line.
    pub(crate) scenario: String,
    /// Faults injected.
    pub(crate) rounds: u32,
    /// Voters.
    pub(crate) nodes: usize,
    /// Of the choices it made.
    pub(crate) seed: u64,
    /// Names and values, in the order in which they are printed.
    pub(crate) facts: Vec<(String, String)>,
    /// What must not be: empty when it held.
    pub(crate) failures: Vec<String>,
    /// Why it did not run.
    pub(crate) skipped: Option<String>,
    /// Wall time, forming the cluster included.
    pub(crate) seconds: f64,
}

impl Verdict {
    /// Notes a figure.
    pub(crate) fn fact(&mut self, name: &str, value: impl std::fmt::Display) {
        self.facts.push((name.to_owned(), value.to_string()));
    }

    /// Notes something that must not be.
    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }

    /// `ok`, `FAILED` or `skipped`.
    pub(crate) fn word(&self) -> &'static str {
        match (&self.skipped, self.failures.is_empty()) {
            (Some(_), _) => "skipped",
            (None, true) => "ok",
            (None, false) => "FAILED",
        }
    }
}
