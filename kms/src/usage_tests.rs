//! What a block is, what a ceiling leaves, and what follows from it.

use proptest::prelude::*;

use super::*;

fn uses(uses: u64) -> UsageLimits {
    UsageLimits { uses: Some(uses), bytes: None }
}

fn bytes(bytes: u64) -> UsageLimits {
    UsageLimits { uses: None, bytes: Some(bytes) }
}

fn ceiling(ceiling: UsageLimits) -> UsagePolicy {
    UsagePolicy { ceiling, ..UsagePolicy::default() }
}

fn fresh() -> VersionUsage {
    VersionUsage::starting(Time(0))
}

fn why<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> Reason {
    outcome.expect_err("refused").reason
}

const ONE: Usage = Usage { uses: 1, bytes: 10 };

#[test]
fn a_block_is_a_part_of_a_share_of_what_is_left() {
    let mut used = fresh();
    // 10,000 / (8 · 3), then of the rest.
    assert_eq!(used.grant(&ceiling(uses(10_000)), ONE, 3, Time(1)).map(|block| block.uses), Ok(416));
    assert_eq!(used.grant(&ceiling(uses(10_000)), ONE, 3, Time(2)).map(|block| block.uses), Ok(399));
    assert_eq!((used.granted, used.since, used.at), (Usage { uses: 815, bytes: 0 }, Time(0), Time(2)));
    let most = fresh().grant(&ceiling(uses(USAGE_BOUND_MAX)), ONE, 1, Time(1)).expect("granted");
    assert_eq!(most.uses, USAGE_BLOCK_USES_MAX);
}

#[test]
fn what_nothing_bounds_is_not_counted() {
    let mut used = fresh();
    let block = used.grant(&ceiling(bytes(1_000_000)), ONE, 3, Time(1)).expect("granted");
    assert_eq!((block.uses, used.granted.uses), (u64::MAX, 0));
    assert_eq!((block.bytes, used.granted.bytes), (41_666, 41_666));
}

#[test]
fn whoever_needs_more_than_a_share_gets_it_as_long_as_it_is_there() {
    let policy = ceiling(bytes(100_000));
    let large = Usage { uses: 1, bytes: 65_536 };
    let mut used = fresh();
    assert_eq!(used.grant(&policy, large, 3, Time(1)).map(|block| block.bytes), Ok(65_536));
    let before = used;
    assert_eq!(why(used.grant(&policy, large, 3, Time(1))), Reason::UsageExhausted);
    assert_eq!(used, before, "a refusal takes nothing");
    assert!(used.grant(&policy, ONE, 3, Time(1)).is_ok());
}

#[test]
fn a_rotation_after_so_many_uses_does_not_stop_use() {
    let policy = UsagePolicy { rotate_after: uses(2_400), ..UsagePolicy::default() };
    let mut used = fresh();
    let blocks: Vec<u64> = (0..30).map(|_| used.grant(&policy, ONE, 3, Time(1)).expect("never refused").uses).collect();
    assert_eq!(blocks, vec![100; 30]);
    assert!(policy.rotate_after.is_reached_by(used.granted));
}

#[test]
fn levels_are_four_fifths_and_nineteen_twentieths() {
    let policy = ceiling(uses(100));
    let level = |uses| policy.level(Usage { uses, bytes: u64::MAX });
    assert_eq!((level(79), level(80)), (UsageLevel::Low, UsageLevel::Warning));
    assert_eq!((level(94), level(95)), (UsageLevel::Warning, UsageLevel::Critical));
    assert_eq!((level(99), level(100)), (UsageLevel::Critical, UsageLevel::Exhausted));
    assert_eq!(ceiling(bytes(10)).level(Usage { uses: u64::MAX, bytes: 8 }), UsageLevel::Warning);
    assert_eq!(ceiling(uses(u64::MAX)).level(Usage { uses: u64::MAX - 1, bytes: 0 }), UsageLevel::Critical);
    assert_eq!(UsagePolicy::default().level(Usage { uses: u64::MAX, bytes: u64::MAX }), UsageLevel::Low);
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    let check = |rotate_after, ceiling, algorithm: Algorithm| UsagePolicy { rotate_after, ceiling }.check(algorithm);
    let none = UsageLimits::default();
    for (rotate_after, ceiling) in [
        (none, uses(0)),
        (none, bytes(0)),
        (uses(ROTATE_AFTER_USES_MIN - 1), none),
        (bytes(ROTATE_AFTER_BYTES_MIN - 1), none),
        (uses(10_001), uses(10_000)),
        (none, uses(USAGE_BOUND_MAX + 1)),
        (uses(1_000), bytes(1_000_000)),
        (bytes(u64::MAX), none),
    ] {
        assert_eq!(why(check(rotate_after, ceiling, Algorithm::Aes256Gcm)), Reason::InvalidArgument);
    }
    assert_eq!(check(uses(10_000), uses(10_000), Algorithm::HmacSha256), Ok(()));
    assert_eq!(check(none, none, Algorithm::RsaOaep2048Sha256), Ok(()));
    assert_eq!(why(check(none, uses(5), Algorithm::RsaOaep2048Sha256)), Reason::InvalidArgument);
}

#[test]
fn one_bound_is_changed_without_the_other() {
    let both = ceiling(UsageLimits { uses: Some(10), bytes: Some(20) });
    let change = |uses, bytes| UsageChange { ceiling: LimitsChange { uses, bytes }, ..UsageChange::default() };
    let changed = |change| both.changed(change, Algorithm::Aes256Gcm).expect("changes").ceiling;
    assert_eq!(changed(change(Some(Some(30)), None)), UsageLimits { uses: Some(30), bytes: Some(20) });
    assert_eq!(changed(change(None, Some(None))), uses(10));
    assert_eq!(changed(UsageChange::default()), both.ceiling);
    assert!(change(Some(None), None).is_about_ceiling() && !UsageChange::default().is_about_ceiling());
    assert_eq!(why(both.changed(change(Some(Some(0)), None), Algorithm::Aes256Gcm)), Reason::InvalidArgument);
}

#[test]
fn a_forecast_goes_on_at_the_pace_so_far() {
    let (mut used, minute) = (fresh(), PACE_KNOWN_AFTER.0);
    assert_eq!(used.reaches(&uses(1_000), 3, Time(minute)), None);
    (used.granted, used.blocks) = (Usage { uses: 250, bytes: 0 }, 7);
    assert_eq!(used.reaches(&uses(1_000), 3, Time(minute - 1)), None, "too soon to tell");
    let few = VersionUsage { blocks: 6, ..used };
    assert_eq!(few.reaches(&uses(1_000), 3, Time(minute)), None, "too few to tell");
    assert_eq!(used.reaches(&uses(1_000), 3, Time(minute)), Some(Time(4 * minute)));
    let either = UsageLimits { uses: Some(1_000), bytes: Some(1) };
    assert_eq!(used.reaches(&either, 3, Time(minute)), Some(Time(4 * minute)));
    (used.granted.uses, used.at) = (1_000, Time(600));
    assert_eq!(used.reaches(&uses(1_000), 3, Time(700)), Some(Time(600)), "reached");
}

/// A node that lacks uses is not handed bytes too: they would be counted and never spent.
#[test]
fn only_what_is_asked_for_is_handed_out() {
    let policy = ceiling(UsageLimits { uses: Some(10_000), bytes: Some(1_000_000) });
    let mut used = fresh();
    let uses_only = used.grant(&policy, Usage { uses: 1, bytes: 0 }, 3, Time(1));
    assert_eq!((uses_only, used.granted), (Ok(Usage { uses: 416, bytes: 0 }), Usage { uses: 416, bytes: 0 }));
    let bytes_only = used.grant(&policy, Usage { uses: 0, bytes: 1 }, 3, Time(1));
    assert_eq!(bytes_only, Ok(Usage { uses: 0, bytes: 41_666 }));
}

/// What is left of a ceiling may be less than the next message: the rotation must not wait for the last byte.
#[test]
fn a_rotation_comes_before_the_ceiling_is_in_the_way() {
    let both = UsagePolicy { rotate_after: bytes(2 << 20), ceiling: bytes(2 << 20) };
    let at = |bytes| both.is_due(Usage { uses: 0, bytes });
    assert!(!at(0) && !at((2 << 20) - 65_536) && at((2 << 20) - 65_535) && at(2 << 20));
    let by_uses = UsagePolicy { rotate_after: uses(5_000), ceiling: bytes(2 << 20) };
    assert!(by_uses.is_due(Usage { uses: 7, bytes: 2 << 20 }));
    assert!(!ceiling(uses(5)).is_due(Usage { uses: 5, bytes: 0 }), "nobody asked for a rotation");
}

proptest! {
    /// However many nodes ask for however much: never more than the ceiling together (issue: a hard ceiling is never exceeded).
    #[test]
    fn blocks_together_never_pass_the_ceiling(
        most in (1_u64..20_000, 1_u64..20_000_000),
        asked in proptest::collection::vec((1_u64..50, 0_u64..70_000, 1_u64..8), 1..400),
        rotate in any::<bool>(),
    ) {
        let rotate_after = if rotate { UsageLimits { uses: Some(most.0), bytes: Some(most.1) } } else { UsageLimits::default() };
        let policy = UsagePolicy { rotate_after, ceiling: UsageLimits { uses: Some(most.0), bytes: Some(most.1) } };
        let (mut used, mut handed) = (fresh(), Usage::default());
        for (uses, bytes, nodes) in asked {
            let least = Usage { uses, bytes };
            match used.grant(&policy, least, nodes, Time(1)) {
                Ok(block) => {
                    prop_assert!(block.minus(least).is_some(), "less than was asked for");
                    handed = handed.plus(block);
                }
                Err(refusal) => prop_assert_eq!(refusal.reason, Reason::UsageExhausted),
            }
            prop_assert!(handed.uses <= most.0 && handed.bytes <= most.1);
            prop_assert_eq!(handed, used.granted);
        }
    }
}
