//! What the tour says: one line a step as it ends, or one JSON document at the end.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

/// One step of the tour.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    /// What it is called in the table and in JSON.
    pub(crate) name: &'static str,
    /// Whether it held; `null` when it could not be tried here.
    pub(crate) ok: Option<bool>,
    /// How long it took.
    pub(crate) ms: u64,
    /// What was seen.
    pub(crate) detail: String,
}

/// The whole tour, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Tour {
    /// True only if no step failed.
    pub(crate) ok: bool,
    /// Every step that was reached, in order.
    pub(crate) steps: Vec<Step>,
}

/// Where the steps go.
#[derive(Debug)]
pub(crate) struct Reporter {
    steps: Vec<Step>,
    shape: Shape,
    started: Instant,
}

/// How the tour is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A line a step.
    Lines,
    /// One document at the end.
    Json,
}

/// What a step came to.
pub(crate) enum Found {
    /// It held; this is what was seen.
    Held(String),
    /// It cannot be tried here, and why.
    Skipped(String),
}

impl Reporter {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { steps: Vec::new(), shape, started: Instant::now() }
    }

    /// Runs one step, prints its line and remembers it. A failed step does not end the tour by itself: the caller
    /// decides whether the rest makes sense without it.
    pub(crate) async fn step<E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<Found, E>>,
    ) -> bool {
        let start = Instant::now();
        let found = work.await;
        let (ok, detail) = match found {
            Ok(Found::Held(detail)) => (Some(true), detail),
            Ok(Found::Skipped(why)) => (None, why),
            Err(error) => (Some(false), error.to_string()),
        };
        let took = start.elapsed();
        let step = Step { name, ok, ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX), detail };
        if self.shape == Shape::Lines {
            say(&line(self.steps.len() + 1, &step, took));
        }
        self.steps.push(step);
        ok != Some(false)
    }

    /// The whole tour, printed when it is JSON.
    pub(crate) fn finish(self) -> Tour {
        let ok = self.steps.iter().all(|step| step.ok != Some(false));
        let held = self.steps.iter().filter(|step| step.ok == Some(true)).count();
        let total = self.steps.len();
        let took = seconds(self.started.elapsed());
        let tour = Tour { ok, steps: self.steps };
        match self.shape {
            Shape::Json => say(&serde_json::to_string(&tour).unwrap_or_default()),
            Shape::Lines if ok && held == total => say(&format!("all {total} steps held in {took}")),
            Shape::Lines if ok => say(&format!("{held} of {total} steps held in {took}, the others were skipped")),
            Shape::Lines => {
                let failed = tour.steps.iter().filter(|step| step.ok == Some(false)).map(|step| step.name);
                say(&format!("FAILED: {}", failed.collect::<Vec<_>>().join(", ")));
            }
        }
        tour
    }
}

/// Prints to standard output; a closed pipe is not our business.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn line(number: usize, step: &Step, took: Duration) -> String {
    let mark = match step.ok {
        Some(true) => "",
        Some(false) => "FAILED: ",
        None => "skipped: ",
    };
    let mut text = format!("{number:>3} {:<9} ", step.name);
    let detail = format!("{mark}{}", step.detail);
    let mut lines = detail.lines();
    let _ = write!(text, "{:<62} {:>7}", lines.next().unwrap_or_default(), seconds(took));
    for more in lines {
        let _ = write!(text, "\n{:14}{more}", "");
    }
    text
}

fn seconds(took: Duration) -> String {
    match took.as_millis() {
        ms @ 0..100 => format!("{ms} ms"),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_skipped_step_is_not_held_and_not_failed() {
        let mut reporter = Reporter::new(Shape::Json);
        let held = async { Ok::<_, String>(Found::Held("seen".to_owned())) };
        let skipped = async { Ok::<_, String>(Found::Skipped("one node".to_owned())) };
        assert!(reporter.step("create", held).await);
        assert!(reporter.step("failover", skipped).await);
        let tour = reporter.finish();
        assert!(tour.ok);
        assert_eq!(tour.steps[1].ok, None);
        let json = serde_json::to_value(&tour).expect("encodes");
        assert!(json["steps"][1]["ok"].is_null());
        assert_eq!(json["steps"][0]["ok"], true);
    }

    #[tokio::test]
    async fn one_failed_step_fails_the_tour() {
        let mut reporter = Reporter::new(Shape::Json);
        let failed = async { Err::<Found, _>("refused".to_owned()) };
        assert!(!reporter.step("rotate", failed).await);
        assert!(!reporter.finish().ok);
    }

    #[test]
    fn lines_line_up() {
        let step = Step { name: "create", ok: Some(true), ms: 4, detail: "keys/orders v1\nsecond line".to_owned() };
        let text = line(3, &step, Duration::from_millis(4));
        assert!(text.starts_with("  3 create    keys/orders v1 "), "{text}");
        assert!(text.ends_with("\n              second line"), "{text}");
        assert!(text.lines().next().is_some_and(|first| first.ends_with("   4 ms")), "{text}");
    }
}
