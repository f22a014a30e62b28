//! What the node counts. Labels are closed sets (actions, outcomes): no name, no path, nothing a caller chooses.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use kms::{RotationCause, UsageLevel};
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
    /// Keys near the ceiling of their primary version.
    near_ceiling: Family<Level, Gauge<i64, AtomicI64>>,
    rotations: Family<Cause, Counter<u64, AtomicU64>>,
    pub(crate) usage: UsageCounters,
}

/// What the desk of usage counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsageCounters {
    leased: Counter<u64, AtomicU64>,
    refused: Counter<u64, AtomicU64>,
}

impl UsageCounters {
    /// A block was handed out to this node.
    pub(crate) fn leased(&self) {
        self.leased.inc();
    }

    /// A use was refused: the ceiling was reached, or no block could be had.
    pub(crate) fn refused(&self) {
        self.refused.inc();
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Level {
    level: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
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
        let usage = UsageCounters {
            leased: counter("usage_blocks", "Blocks of counted use that were handed out to this node"),
            refused: counter("usage_refused", "Uses refused for a ceiling, or because no block could be had"),
        };
        let rotations = Family::default();
        registry.register("rotations", "Rotations that this node has made by itself, by cause", rotations.clone());
        let near_ceiling = Family::default();
        let help = "Keys whose primary version is near its ceiling: warning from 80 %, critical from 95 %, exhausted";
        registry.register("keys_near_ceiling", help, near_ceiling.clone());
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
            near_ceiling,
            rotations,
            usage,
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

    /// Counts one rotation that nobody asked for.
    pub(crate) fn rotated(&self, cause: RotationCause) {
        self.rotations.get_or_create(&Cause { cause: cause.as_str() }).inc();
    }

    /// Says how many keys are near their ceilings; every level has its line, so that an alert finds it before the first.
    pub(crate) fn near_ceiling(&self, counts: &BTreeMap<UsageLevel, u64>) {
        for level in [UsageLevel::Warning, UsageLevel::Critical, UsageLevel::Exhausted] {
            let count = counts.get(&level).copied().unwrap_or_default();
            let gauge = self.near_ceiling.get_or_create(&Level { level: level.as_str() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
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
