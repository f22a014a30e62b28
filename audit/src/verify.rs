//! Offline verification of one log, docs/spec/audit.md §4: leaves in, findings out.

use crate::{Frontier, Hash, Head, LogName, Record};

/// Findings listed in a report; further ones are counted.
const FINDINGS_MAX: usize = 100;

/// Something wrong with a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// The bytes at this position are not a leaf.
    Unreadable {
        /// Position in the log.
        position: u64,
        /// What is wrong with them.
        why: String,
    },
    /// The record at this position belongs elsewhere: something was deleted, swapped, repeated or brought in.
    Misplaced {
        /// Position in the log.
        position: u64,
        /// The log that the record names.
        log: LogName,
        /// The number that the record names.
        index: u64,
    },
    /// The records do not give the root of a head that others hold: an edit or a rewritten history.
    Changed {
        /// The first record that may be the changed one: the size of the last head that matches, or 0.
        from: u64,
        /// The size of the first head that does not match.
        upto: u64,
    },
    /// The log is shorter than a head that others hold.
    Truncated {
        /// Records that are there.
        held: u64,
        /// Records that the head counts.
        anchored: u64,
    },
    /// Two heads that others hold have one size and different roots: the log was forked.
    ConflictingHeads {
        /// Their size.
        size: u64,
    },
}

impl Finding {
    /// The first record it speaks about.
    #[must_use]
    pub const fn position(&self) -> u64 {
        match self {
            Self::Unreadable { position, .. } | Self::Misplaced { position, .. } => *position,
            Self::Changed { from, .. } => *from,
            Self::Truncated { held, .. } => *held,
            Self::ConflictingHeads { size } => size.saturating_sub(1),
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable { position, why } => write!(f, "record {position} is unreadable: {why}"),
            Self::Misplaced { position, log, index } => {
                write!(f, "at {position} stands record {index} of {log}: records were deleted, swapped or repeated")
            }
            Self::Changed { from, upto } => {
                write!(f, "a record from {from} to {} was changed: the root at {upto} differs", upto.saturating_sub(1))
            }
            Self::Truncated { held, anchored } => write!(f, "{held} records are there, {anchored} were anchored"),
            Self::ConflictingHeads { size } => write!(f, "two heads of size {size} differ: the log was forked"),
        }
    }
}

/// What verification found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The head of the records as they are.
    pub head: Head,
    /// How many times a record is missing between two others, or at the end.
    pub gaps: u64,
    /// Records after the last head that matches: nobody else vouches for them yet.
    pub unanchored: u64,
    /// What is wrong, in the order it was found; at most a hundred.
    pub findings: Vec<Finding>,
    /// Findings beyond the listed ones.
    pub findings_omitted: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// The lowest number of a record that is not as it was.
    #[must_use]
    pub fn first_bad(&self) -> Option<u64> {
        self.findings.iter().map(Finding::position).min()
    }
}

/// Verifies the leaves of one log, in order from 0, against heads of it that others hold. Heads of other logs are
/// passed over.
pub fn verify_log<L: AsRef<[u8]>>(log: LogName, leaves: impl IntoIterator<Item = L>, heads: &[Head]) -> Report {
    let mut verifier = Verifier::new(log, heads);
    for leaf in leaves {
        verifier.take(leaf.as_ref());
    }
    verifier.finish()
}

/// The same, leaf by leaf, for readers that can fail in between.
pub struct Verifier {
    log: LogName,
    frontier: Frontier,
    /// Heads not reached yet, smallest last.
    heads: Vec<Head>,
    matched: u64,
    changed: bool,
    /// What the last record's number was ahead of its position: a deletion is one finding, not one for each record
    /// after it.
    ahead: i128,
    report: Report,
}

impl Verifier {
    /// Begins with the first record.
    #[must_use]
    pub fn new(log: LogName, heads: &[Head]) -> Self {
        let mut heads: Vec<Head> = heads.iter().filter(|head| head.log == log).copied().collect();
        heads.sort_by_key(|head| std::cmp::Reverse((head.size, head.root)));
        heads.dedup();
        let report =
            Report { head: Head::empty(log), gaps: 0, unanchored: 0, findings: Vec::new(), findings_omitted: 0 };
        let frontier = Frontier::new();
        let mut verifier = Self { log, frontier, heads, matched: 0, changed: false, ahead: 0, report };
        let conflicts: Vec<u64> = verifier
            .heads
            .iter()
            .zip(verifier.heads.iter().skip(1))
            .filter_map(|(a, b)| (a.size == b.size).then_some(a.size))
            .collect();
        for size in conflicts {
            verifier.find(Finding::ConflictingHeads { size });
        }
        verifier.compare_heads();
        verifier
    }

    /// Takes the next leaf.
    pub fn take(&mut self, leaf: &[u8]) {
        let position = self.frontier.push(leaf);
        match Record::from_leaf(leaf) {
            Ok(record) => self.place(position, &record),
            Err(why) => self.find(Finding::Unreadable { position, why: why.to_string() }),
        }
        self.compare_heads();
    }

    /// Ends after the last leaf.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let held = self.frontier.size();
        if let Some(anchored) = self.heads.first().map(|head| head.size).filter(|anchored| *anchored > held) {
            self.report.gaps = self.report.gaps.saturating_add(1);
            self.find(Finding::Truncated { held, anchored });
        }
        self.report.head = self.frontier.head(self.log);
        self.report.unanchored = held - self.matched;
        self.report
    }

    fn place(&mut self, position: u64, record: &Record) {
        let ahead = i128::from(record.index) - i128::from(position);
        let foreign = record.log != self.log;
        if foreign || (ahead != self.ahead && ahead != 0) {
            self.find(Finding::Misplaced { position, log: record.log, index: record.index });
        }
        if !foreign {
            self.report.gaps += u64::from(ahead > self.ahead && ahead > 0);
            self.ahead = ahead;
        }
    }

    fn compare_heads(&mut self) {
        let size = self.frontier.size();
        let mut root: Option<Hash> = None;
        while let Some(head) = self.heads.pop_if(|head| head.size <= size) {
            if head.root == *root.get_or_insert_with(|| self.frontier.root()) {
                self.matched = size;
            } else if !self.changed {
                self.changed = true;
                self.find(Finding::Changed { from: self.matched, upto: size });
            }
        }
    }

    fn find(&mut self, finding: Finding) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(finding);
        } else {
            self.report.findings_omitted = self.report.findings_omitted.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Text};
    use types::{Action, NodeId, OperatorName, Principal, Time};

    const LOG: LogName = LogName::Node(NodeId(1));

    fn leaf(index: u64, resource: &str) -> Vec<u8> {
        let root = Principal::Operator(OperatorName::parse("root").expect("a name"));
        let event = Event { resource: Text::clipped(resource), ..Event::allowed(Time(index), root, Action::Decrypt) };
        event.into_record(LOG, index).to_leaf()
    }

    fn log(count: u64) -> Vec<Vec<u8>> {
        (0..count).map(|i| leaf(i, "keys/a")).collect()
    }

    fn head(leaves: &[Vec<u8>], size: usize) -> Head {
        let mut frontier = Frontier::new();
        for leaf in &leaves[..size] {
            frontier.push(leaf);
        }
        frontier.head(LOG)
    }

    #[test]
    fn an_untouched_log_is_sound() {
        let leaves = log(20);
        let other = Head::empty(LogName::Cluster);
        for heads in [vec![], vec![head(&leaves, 0), head(&leaves, 7), head(&leaves, 7), head(&leaves, 16), other]] {
            let report = verify_log(LOG, &leaves, &heads);
            assert!(report.is_sound(), "{report:?}");
            assert_eq!(report.head, head(&leaves, 20));
            assert_eq!(report.unanchored, if heads.is_empty() { 20 } else { 4 });
            assert_eq!((report.gaps, report.first_bad()), (0, None));
        }
    }

    /// Name of the attack, what it does, the findings, the gaps.
    type Attack = (&'static str, fn(&mut Vec<Vec<u8>>), Vec<Finding>, u64);

    #[test]
    fn every_way_to_tamper_is_found() {
        let misplaced = |position, index| Finding::Misplaced { position, log: LOG, index };
        let changed = Finding::Changed { from: 8, upto: 16 };
        let table: Vec<Attack> = vec![
            ("edit", |l| l[9] = leaf(9, "keys/b"), vec![changed.clone()], 0),
            (
                "edit into nonsense",
                |l| l[9].push(b' '),
                vec![
                    Finding::Unreadable { position: 9, why: crate::LeafError::NotCanonical.to_string() },
                    changed.clone(),
                ],
                0,
            ),
            (
                "delete",
                |l| drop(l.remove(9)),
                vec![misplaced(9, 10), changed.clone(), Finding::Truncated { held: 19, anchored: 20 }],
                2,
            ),
            (
                "delete and append",
                |l| {
                    l.remove(9);
                    l.push(leaf(20, ""))
                },
                vec![misplaced(9, 10), changed.clone()],
                1,
            ),
            ("swap", |l| l.swap(9, 10), vec![misplaced(9, 10), misplaced(10, 9), changed.clone()], 1),
            ("repeat", |l| l.insert(9, leaf(8, "keys/a")), vec![misplaced(9, 8), changed.clone()], 0),
            (
                "a record of another log",
                |l| l[9] = Record { log: LogName::Cluster, ..Record::from_leaf(&l[9]).expect("a leaf") }.to_leaf(),
                vec![Finding::Misplaced { position: 9, log: LogName::Cluster, index: 9 }, changed.clone()],
                0,
            ),
            ("truncate", |l| l.truncate(17), vec![Finding::Truncated { held: 17, anchored: 20 }], 1),
            ("truncate everything", Vec::clear, vec![Finding::Truncated { held: 0, anchored: 20 }], 1),
            (
                "fork: a history rewritten from 16 on",
                |l| (16..20).for_each(|i| l[i as usize] = leaf(i, "keys/b")),
                vec![Finding::Changed { from: 16, upto: 20 }],
                0,
            ),
        ];
        let honest = log(20);
        let heads = [head(&honest, 8), head(&honest, 16), head(&honest, 20)];
        for (name, tamper, findings, gaps) in table {
            let mut leaves = honest.clone();
            tamper(&mut leaves);
            let report = verify_log(LOG, &leaves, &heads);
            assert_eq!(report.findings, findings, "{name}");
            assert_eq!(report.gaps, gaps, "{name}");
            assert!(!report.is_sound() && report.first_bad().is_some(), "{name}");
        }
    }

    #[test]
    fn a_fork_shown_to_two_readers_is_found() {
        let (one, mut other) = (log(10), log(10));
        other[4] = leaf(4, "keys/b");
        let report = verify_log(LOG, &one, &[head(&one, 10), head(&other, 10)]);
        assert!(report.findings.contains(&Finding::ConflictingHeads { size: 10 }), "{report:?}");
        assert!(!report.is_sound());
    }

    #[test]
    fn findings_are_bounded() {
        let leaves: Vec<Vec<u8>> = (0..300).map(|_| b"no leaf".to_vec()).collect();
        let report = verify_log(LOG, &leaves, &[]);
        assert_eq!((report.findings.len(), report.findings_omitted), (100, 200));
    }
}
