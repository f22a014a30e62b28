//! What the node counts. Labels are closed sets (actions, outcomes): no name, no path, nothing a caller chooses.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use types::Action;

/// The node's counters and gauges.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter<u64, AtomicU64>>,
    seconds: Family<Verb, Histogram>,
    /// 1 while sealed.
    pub sealed: Gauge<i64, AtomicI64>,
    /// 1 while this node leads.
    pub leader: Gauge<i64, AtomicI64>,
    /// Last applied log index.
    pub applied: Gauge<i64, AtomicI64>,
    /// 1 while the node may serve and sign.
    pub lease: Gauge<i64, AtomicI64>,
    /// Leaves in the node's own audit log.
    pub audit_records: Gauge<i64, AtomicI64>,
    /// Backups written by schedule, and those that failed.
    pub backups: Counter<u64, AtomicU64>,
    pub backups_failed: Counter<u64, AtomicU64>,
    /// 1 while the ledger cannot be written; and how often it could not.
    pub ledger_behind: Gauge<i64, AtomicI64>,
    pub ledger_failures: Counter<u64, AtomicU64>,
    /// Keys that are due to rotate and have not.
    pub rotations_due: Gauge<i64, AtomicI64>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    action: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Verb {
    action: &'static str,
}

/// From 100 µs to 13 s in doublings: a data-plane call is near the low end, a write with an election near the high.
fn latency() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.000_1, 2.0, 18))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("chancery");
        let requests = Family::default();
        registry.register("requests", "Answered requests by action and outcome", requests.clone());
        let seconds = Family::<Verb, Histogram>::new_with_constructor(latency);
        registry.register_with_unit("request", "Time to answer by action", Unit::Seconds, seconds.clone());
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let backups = counter("backups", "Backups written to the folder of this node");
        let backups_failed = counter("backups_failed", "Backups that could not be written to the folder of this node");
        let ledger_failures = counter("ledger_failures", "Attempts at writing the ledger that failed");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        Self {
            sealed: gauge("sealed", "1 while the node is sealed"),
            leader: gauge("raft_leader", "1 while this node leads"),
            applied: gauge("raft_applied_index", "Last applied log index"),
            lease: gauge("node_lease", "1 while the node may serve and sign"),
            audit_records: gauge("audit_records", "Records in the audit log of this node"),
            ledger_behind: gauge(
                "ledger_behind",
                "1 while the ledger cannot be written and what takes a right away waits",
            ),
            rotations_due: gauge("rotations_due", "Keys due to rotate that have not yet"),
            backups,
            backups_failed,
            ledger_failures,
            registry,
            requests,
            seconds,
        }
    }
}

impl Metrics {
    /// Counts one answer.
    pub(crate) fn answered(&self, action: Action, outcome: &'static str, took: Duration) {
        self.requests.get_or_create(&Request { action: action.as_str(), outcome }).inc();
        self.seconds.get_or_create(&Verb { action: action.as_str() }).observe(took.as_secs_f64());
    }

    /// OpenMetrics text.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub(crate) fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_action_and_outcome() {
        let metrics = Metrics::default();
        metrics.answered(Action::Encrypt, "allow", Duration::from_micros(300));
        metrics.answered(Action::Encrypt, "deny", Duration::from_micros(200));
        metrics.sealed.set(1);
        let text = metrics.render().expect("renders");
        for line in [
            "chancery_requests_total{action=\"CryptoService.Encrypt\",outcome=\"allow\"} 1",
            "chancery_requests_total{action=\"CryptoService.Encrypt\",outcome=\"deny\"} 1",
            "chancery_request_seconds_count{action=\"CryptoService.Encrypt\"} 2",
            "chancery_sealed 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
