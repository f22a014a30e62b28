//! Cheap questions, asked of every answer: did it come from nowhere, did time run backwards, is what was acknowledged still
//! there, was a disabled key used? Each finding names the answer that lied; the search in [`super::register`] does not.

use std::collections::BTreeSet;
use std::fmt;

use crate::history::{Call, Nanos, Operation, Outcome};

/// Something that must not happen, with the answer that shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// The numbers, for people.
    pub text: String,
}

/// What an answer can be guilty of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A version that nobody had asked for yet.
    Phantom,
    /// A version that was given out twice.
    Twice,
    /// Older than what the same caller had read before.
    MonotonicRead,
    /// Older than what the same caller had written before.
    ReadYourWrite,
    /// Older than what somebody had been told before the call began.
    Stale,
    /// Acknowledged, and not there afterwards.
    Lost,
    /// Served although the acknowledged answer was that it would not be.
    UsedWhileDisabled,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// Judges every answer about one key.
#[must_use]
pub fn check(operations: &[Operation]) -> Vec<Finding> {
    let mut found = phantoms(operations);
    found.extend(twice(operations));
    found.extend(backwards(operations));
    found.extend(used_while_disabled(operations));
    found
}

/// Judges what one node lists in the end, newest first or oldest first, against everything that was acknowledged.
#[must_use]
pub fn check_versions(operations: &[Operation], node: usize, versions: &BTreeSet<u32>) -> Vec<Finding> {
    let (mut found, present) = (Vec::new(), versions.len());
    let acknowledged = operations.iter().filter(|operation| operation.is_write()).filter_map(Operation::version);
    for version in acknowledged.filter(|version| !versions.contains(version)) {
        found.push(finding(Kind::Lost, format!("version {version} was acknowledged, node {node} lacks it")));
    }
    let newest = versions.last().copied().unwrap_or(0);
    if usize::try_from(newest).is_ok_and(|newest| newest != present) {
        found.push(finding(Kind::Lost, format!("node {node} lists {present} versions up to {newest}")));
    }
    let most = created(operations, Nanos::MAX) + rotated(operations, Nanos::MAX);
    if present > most {
        found.push(finding(Kind::Phantom, format!("node {node} lists {present} versions, {most} were asked for")));
    }
    found
}

fn finding(kind: Kind, text: String) -> Finding {
    Finding { kind, text }
}

fn created(operations: &[Operation], before: Nanos) -> usize {
    asked(operations, Call::Create, before).min(1)
}

fn rotated(operations: &[Operation], before: Nanos) -> usize {
    asked(operations, Call::Rotate, before)
}

fn asked(operations: &[Operation], call: Call, before: Nanos) -> usize {
    let asked =
        |operation: &&Operation| operation.call == call && operation.may_have_happened() && operation.began < before;
    operations.iter().filter(asked).count()
}

fn phantoms(operations: &[Operation]) -> Vec<Finding> {
    let phantom = |operation: &Operation| {
        let version = operation.version()?;
        let most = created(operations, operation.ended) * (1 + rotated(operations, operation.ended));
        let told = usize::try_from(version).ok()?;
        let text = || format!("{operation:?} tells version {version}, {most} had been asked for");
        (told == 0 || told > most).then(|| finding(Kind::Phantom, text()))
    };
    operations.iter().filter_map(phantom).collect()
}

fn twice(operations: &[Operation]) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let made = operations.iter().filter(|operation| operation.is_write()).filter_map(Operation::version);
    made.filter(|version| !seen.insert(*version))
        .map(|version| finding(Kind::Twice, format!("version {version} was acknowledged to two requests")))
        .collect()
}

/// Every linearizable answer against the newest that had been given when its call began.
fn backwards(operations: &[Operation]) -> Vec<Finding> {
    let mut answered: Vec<&Operation> = operations.iter().filter(|o| o.is_linearizable()).collect();
    answered.sort_by_key(|operation| operation.began);
    let mut earlier: Vec<&Operation> = answered.iter().copied().filter(|o| o.version().is_some()).collect();
    earlier.sort_by_key(|operation| operation.ended);
    let (mut found, mut newest, mut next) = (Vec::new(), None::<&Operation>, 0);
    for operation in answered {
        while let Some(ended) = earlier.get(next).filter(|earlier| earlier.ended < operation.began) {
            if newest.is_none_or(|newest| newest.version() < ended.version()) {
                newest = Some(ended);
            }
            next += 1;
        }
        let Some(newest) = newest else { continue };
        let behind = match operation.outcome {
            Outcome::NotFound => true,
            Outcome::Done { .. } if operation.call == Call::Rotate => operation.version() <= newest.version(),
            Outcome::Done { .. } if operation.call == Call::Get => operation.version() < newest.version(),
            _ => false,
        };
        if behind {
            let own = earlier.iter().filter(|o| o.process == operation.process && o.ended < operation.began);
            // What the same caller was told is named first: it needs no second clock to be a lie.
            let told = own.filter(|own| own.version() > operation.version()).min_by_key(|own| !own.is_write());
            let kind = match told.map(|own| own.is_write()) {
                Some(true) => Kind::ReadYourWrite,
                Some(false) => Kind::MonotonicRead,
                None => Kind::Stale,
            };
            found.push(finding(kind, format!("{operation:?} after {newest:?}")));
        }
    }
    found
}

/// A use that began after a disable was acknowledged, when nobody can have enabled the key since.
fn used_while_disabled(operations: &[Operation]) -> Vec<Finding> {
    let of = |call: Call| operations.iter().filter(move |o| o.call == call && o.may_have_happened());
    let mut found = Vec::new();
    for disabled in of(Call::SetEnabled(false)).filter(|o| o.outcome != Outcome::Unknown) {
        for used in of(Call::Use).filter(|used| used.began > disabled.ended) {
            let enabled = of(Call::SetEnabled(true)).any(|enabled| {
                let open = enabled.outcome == Outcome::Unknown;
                enabled.began < used.ended && (open || enabled.ended > disabled.began)
            });
            if !enabled {
                found.push(finding(Kind::UsedWhileDisabled, format!("{used:?} after {disabled:?}")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(process: u32, began: u64, ended: u64, call: Call, version: u32) -> Operation {
        let enabled = true;
        Operation { process, began, ended, call, outcome: Outcome::Done { version, enabled } }
    }

    fn sound() -> Vec<Operation> {
        vec![
            at(1, 0, 10, Call::Create, 1),
            at(1, 20, 40, Call::Rotate, 2),
            at(2, 30, 35, Call::Get, 1),
            at(2, 50, 60, Call::Get, 2),
            at(3, 55, 65, Call::Use, 1),
        ]
    }

    #[track_caller]
    fn expect(kinds: &[Kind], operations: &[Operation]) {
        let found = check(operations);
        assert_eq!(found.iter().map(|finding| finding.kind).collect::<Vec<_>>(), kinds, "{found:?}");
    }

    #[test]
    fn a_sound_history_has_no_findings() {
        expect(&[], &sound());
        assert_eq!(check_versions(&sound(), 1, &BTreeSet::from([1, 2])), []);
    }

    #[test]
    fn each_kind_of_lie_is_called_by_its_name() {
        let lies: [(&[Kind], Operation); 7] = [
            (&[Kind::Phantom], at(3, 70, 80, Call::Get, 3)),
            (&[Kind::Phantom], at(3, 70, 80, Call::Use, 3)),
            (&[Kind::MonotonicRead], at(2, 70, 80, Call::Get, 1)),
            (&[Kind::ReadYourWrite], at(1, 45, 48, Call::Get, 1)),
            (&[Kind::Stale], at(4, 70, 80, Call::Get, 1)),
            (&[Kind::Twice, Kind::Stale], at(4, 70, 80, Call::Rotate, 2)),
            (&[Kind::Stale], Operation { outcome: Outcome::NotFound, ..at(4, 70, 80, Call::Rotate, 0) }),
        ];
        for (kinds, lie) in lies {
            let mut history = sound();
            history.push(lie);
            expect(kinds, &history);
        }
    }

    #[test]
    fn an_unanswered_rotation_explains_a_version_and_no_more() {
        let mut history = sound();
        history.push(Operation { outcome: Outcome::Unknown, ..at(5, 61, 62, Call::Rotate, 0) });
        history.push(at(4, 70, 80, Call::Get, 3));
        expect(&[], &history);
        history.push(at(4, 90, 95, Call::Get, 4));
        expect(&[Kind::Phantom], &history);
    }

    #[test]
    fn what_was_acknowledged_must_be_listed_on_every_node() {
        let lost = check_versions(&sound(), 3, &BTreeSet::from([1]));
        assert_eq!(lost.iter().map(|f| f.kind).collect::<Vec<_>>(), [Kind::Lost], "{lost:?}");
        let gap = check_versions(&sound(), 3, &BTreeSet::from([2]));
        assert_eq!(gap.len(), 2, "version 1, and the gap: {gap:?}");
        let more = check_versions(&sound(), 3, &BTreeSet::from([1, 2, 3]));
        assert_eq!(more.iter().map(|f| f.kind).collect::<Vec<_>>(), [Kind::Phantom], "{more:?}");
    }

    #[test]
    fn a_use_after_an_acknowledged_disable_is_found_unless_somebody_enabled() {
        let mut history = sound();
        history.push(at(1, 70, 80, Call::SetEnabled(false), 0));
        history.push(at(3, 75, 90, Call::Use, 2));
        expect(&[], &history);
        history.push(at(3, 85, 95, Call::Use, 2));
        expect(&[Kind::UsedWhileDisabled], &history);
        let unknown = Operation { outcome: Outcome::Unknown, ..at(1, 71, 72, Call::SetEnabled(true), 0) };
        history.push(unknown);
        expect(&[], &history);
    }
}
