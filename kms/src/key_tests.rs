//! A key's life, step by step.

use types::limits::{WAITING_PERIOD_DEFAULT, WAITING_PERIOD_MAX};

use super::*;
use crate::{UsageLimits, VersionState};

const FLOOR: Millis = Millis::from_secs(10);
const DAY: Millis = Millis::from_hours(24);
const FLOORS: Floors = Floors { rotation: FLOOR, waiting_period: DAY };
const PERIOD: Millis = Millis::from_secs(60);

fn at(now: u64, revision: u64) -> At {
    At { now: Time(now), revision: Revision(revision) }
}

fn material(byte: u8) -> WrappedMaterial {
    WrappedMaterial { wrapped: vec![byte], public: vec![byte; 2] }
}

fn key(period: Option<Millis>) -> (Key, KeyVersion) {
    Key::create(KeyId([7; 16]), Algorithm::Aes256Gcm, KeySettings::rotating(period), FLOORS, material(1), at(1_000, 5))
        .expect("a key")
}

/// A refusal leaves the row as it was.
#[track_caller]
fn refused(key: &mut Key, expect: u32, cause: RotationCause, now: u64, reason: Reason) {
    let before = key.clone();
    let refusal = key.add_version(expect, cause, None, material(9), at(now, 99)).expect_err("refused");
    assert_eq!((refusal.reason, &*key), (reason, &before));
}

#[test]
fn a_new_key_encrypts_with_version_one() {
    let (key, version) = key(None);
    assert_eq!((key.primary, key.last_version, key.enabled, key.revision), (1, 1, true, Revision(5)));
    assert_eq!(
        (version.cause, version.state, version.created),
        (RotationCause::Created, VersionState::Enabled, Time(1_000))
    );
    assert_eq!((key.next_due(), key.is_due(Time::NEVER)), (None, false));
    assert!(key.usable().is_ok() && version.usable().is_ok());
}

#[test]
fn a_period_below_the_floor_is_refused() {
    let below = Some(Millis(FLOOR.0 - 1));
    let made =
        Key::create(KeyId([7; 16]), Algorithm::Aes256Gcm, KeySettings::rotating(below), FLOORS, material(0), at(0, 1));
    assert_eq!(made.expect_err("refused").reason, Reason::InvalidArgument);
    let (mut key, version) = key(Some(PERIOD));
    let before = key.clone();
    assert!(key.change(KeyChange::of_rotation(below), FLOORS, &version, Revision(9)).is_err());
    assert_eq!(key, before);
}

#[test]
fn a_repeated_rotation_makes_one_version() {
    let (mut key, _) = key(None);
    let (number, version) =
        key.add_version(1, RotationCause::Operator, None, material(2), at(2_000, 6)).expect("rotates");
    assert_eq!((number, key.primary, key.last_version, key.revision), (2, 2, 2, Revision(6)));
    assert_eq!((version.cause, version.created, version.wrapped), (RotationCause::Operator, Time(2_000), vec![2]));
    assert_eq!(version.public, [2, 2]);
    refused(&mut key, 1, RotationCause::Operator, 3_000, Reason::PreconditionFailed);
}

#[test]
fn a_schedule_is_served_exactly_once() {
    let (mut key, _) = key(Some(PERIOD));
    let due = 1_000 + PERIOD.0;
    assert_eq!(key.next_due(), Some(Time(due)));
    refused(&mut key, 1, RotationCause::Schedule, due - 1, Reason::NotDue);
    assert!(key.is_due(Time(due)));
    key.add_version(1, RotationCause::Schedule, None, material(2), at(due + 7, 6)).expect("due");
    assert_eq!(key.next_due(), Some(Time(due + 7).after(PERIOD)));
    refused(&mut key, 1, RotationCause::Schedule, due + 8, Reason::NotDue);
    // Even when it is due again, a proposal made before the last rotation does not count.
    refused(&mut key, 1, RotationCause::Schedule, due + 7 + PERIOD.0, Reason::NotDue);
    assert_eq!(key.last_version, 2);
}

#[test]
fn rotation_by_hand_puts_the_schedule_off() {
    let (mut key, _) = key(Some(PERIOD));
    key.add_version(1, RotationCause::Operator, None, material(2), at(30_000, 6)).expect("rotates");
    assert_eq!(key.next_due(), Some(Time(30_000).after(PERIOD)));
    refused(&mut key, 2, RotationCause::Schedule, 1_000 + PERIOD.0, Reason::NotDue);
}

#[test]
fn a_disabled_key_neither_works_nor_rotates() {
    let (mut key, _) = key(Some(PERIOD));
    assert_eq!(key.set_enabled(false, Revision(8)), Ok(true));
    assert_eq!(key.set_enabled(false, Revision(9)), Ok(false), "nothing changed");
    assert_eq!(key.revision, Revision(8));
    assert_eq!(key.usable().expect_err("disabled").reason, Reason::KeyDisabled);
    assert_eq!((key.next_due(), key.is_due(Time::NEVER)), (None, false));
    refused(&mut key, 1, RotationCause::Schedule, u64::MAX, Reason::KeyDisabled);
    refused(&mut key, 1, RotationCause::Operator, 2_000, Reason::KeyDisabled);
    assert_eq!(key.set_enabled(true, Revision(10)), Ok(true));
    assert!(key.is_due(Time(1_000).after(PERIOD)), "what fell due meanwhile is due");
}

#[test]
fn a_disabled_version_is_not_used() {
    let (_, mut version) = key(None);
    assert_eq!(version.set_enabled(false, Revision(8)), Ok(true));
    assert_eq!(version.set_enabled(false, Revision(9)), Ok(false));
    assert_eq!(version.revision, Revision(8));
    assert_eq!(version.usable().expect_err("disabled").reason, Reason::KeyDisabled);
    assert!(version.set_enabled(true, Revision(10)) == Ok(true) && version.usable().is_ok());
}

#[test]
fn a_shorter_period_counts_from_the_age_of_the_primary() {
    let (mut key, version) = key(Some(Millis::from_days(90)));
    key.change(KeyChange::of_rotation(Some(PERIOD)), FLOORS, &version, Revision(6)).expect("set");
    assert_eq!((key.next_due(), key.revision), (Some(Time(1_000).after(PERIOD)), Revision(6)));
    key.change(KeyChange::of_rotation(None), FLOORS, &version, Revision(7)).expect("cleared");
    assert_eq!((key.next_due(), key.rotation), (None, None));
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let (mut key, version) = key(Some(PERIOD));
    let labels = Labels::new([("team", "pay")]).expect("labels");
    let change = KeyChange { labels: Some(labels.clone()), deletion_protection: Some(true), ..KeyChange::default() };
    key.change(change, FLOORS, &version, Revision(6)).expect("changed");
    assert_eq!(
        (&key.labels, key.deletion_protection, key.next_due()),
        (&labels, true, Some(Time(1_000).after(PERIOD)))
    );
    key.change(KeyChange::of_rotation(None), FLOORS, &version, Revision(7)).expect("changed");
    assert_eq!((&key.labels, key.deletion_protection, key.next_due()), (&labels, true, None));

    // All of it or nothing.
    let before = key.clone();
    let change = KeyChange {
        labels: Some(Labels::default()),
        rotation_period: Some(Some(Millis::ZERO)),
        deletion_protection: Some(false),
        ..KeyChange::default()
    };
    assert_eq!(
        key.change(change, FLOORS, &version, Revision(8)).expect_err("too short").reason,
        Reason::InvalidArgument
    );
    assert_eq!(key, before);
}

#[test]
fn a_protected_key_is_not_destroyed() {
    let (mut key, mut version) = key(None);
    version.set_enabled(false, Revision(6)).expect("disabled");
    let protect = |on| KeyChange { deletion_protection: Some(on), ..KeyChange::default() };
    key.change(protect(true), FLOORS, &version, Revision(7)).expect("changed");
    assert_eq!(key.check_destruction(1, &version).expect_err("protected").reason, Reason::PreconditionFailed);
    key.change(protect(false), FLOORS, &version, Revision(8)).expect("changed");
    assert_eq!(key.check_destruction(1, &version), Ok(()));
}

#[test]
fn versions_end_at_their_bound() {
    let (mut key, _) = key(None);
    key.versions = KEY_VERSIONS_MAX - 1;
    key.add_version(1, RotationCause::Operator, None, material(2), at(2, 6)).expect("the last one");
    refused(&mut key, 2, RotationCause::Operator, 3, Reason::LimitExceeded);
    (key.versions, key.last_version) = (1, u32::MAX);
    refused(&mut key, u32::MAX, RotationCause::Operator, 3, Reason::LimitExceeded);
}

#[test]
fn after_a_restore_numbers_skip_what_may_have_been_made() {
    for (last, next) in [(1, 65_536), (32_767, 65_536), (32_769, 131_072), (65_535, 131_072), (65_536, 131_072)] {
        let (mut key, _) = key(None);
        key.last_version = last;
        key.skip_lost_versions(1, Revision(9));
        assert_eq!((key.next_version(), key.primary, key.revision), (Ok(next), 1, Revision(9)), "{last}");
    }
    let (mut key, _) = key(None);
    key.last_version = u32::MAX - 9;
    key.skip_lost_versions(1, Revision(9));
    assert!(key.last_version >= u32::MAX - 9, "never back");
}

/// Restored twice from one backup: the second life must not make the versions of the first.
#[test]
fn every_life_since_the_backup_has_numbers_of_its_own() {
    let next = |lives| {
        let (mut key, _) = key(None);
        key.skip_lost_versions(lives, Revision(9));
        key.next_version()
    };
    assert_eq!((next(1), next(2), next(3)), (Ok(65_536), Ok(131_072), Ok(196_608)));
    assert!(next(u32::MAX).is_err(), "never a number twice");
}

#[test]
fn only_what_nobody_uses_is_destroyed_and_then_for_good() {
    let why = |result: Result<(), Refusal>| result.err().map(|refusal| refusal.reason);
    let (mut key, mut version) = key(Some(PERIOD));
    assert_eq!(why(key.check_destruction(1, &version)), Some(Reason::PreconditionFailed));
    // Disabled by itself, or with its key.
    let mut disabled = version.clone();
    disabled.set_enabled(false, Revision(6)).expect("disabled");
    assert!(key.check_destruction(1, &disabled).is_ok());
    key.set_enabled(false, Revision(7)).expect("disabled");
    assert!(key.check_destruction(1, &version).is_ok());

    version.destroy(at(3_000, 8));
    assert!(version.wrapped.is_empty() && version.revision == Revision(8));
    assert_eq!(version.public, [1, 1], "what was signed can still be verified elsewhere");
    assert_eq!(why(version.usable()), Some(Reason::KeyDestroyed));
    assert_eq!(why(key.check_destruction(1, &version)), Some(Reason::KeyDestroyed));
    assert_eq!(why(version.set_enabled(true, Revision(9)).map(drop)), Some(Reason::KeyDestroyed));

    key.destroy(at(3_000, 8));
    assert_eq!(why(key.usable()), Some(Reason::KeyDestroyed));
    assert_eq!(why(key.set_enabled(true, Revision(9)).map(drop)), Some(Reason::KeyDestroyed));
    refused(&mut key, 1, RotationCause::Operator, 4_000, Reason::KeyDestroyed);
    assert_eq!(key.next_due(), None);
}

#[test]
fn what_waits_for_its_end_is_not_used_and_can_be_taken_back() {
    let why = |result: Result<(), Refusal>| result.err().map(|refusal| refusal.reason);
    let (mut key, mut version) = key(Some(PERIOD));
    assert_eq!(key.waiting_period, WAITING_PERIOD_DEFAULT);
    key.set_enabled(false, Revision(6)).expect("disabled");
    let scheduled = key.schedules(DAY, true, Time(5_000));
    assert_eq!(scheduled, ScheduledDestruction { due: Time(5_000).after(WAITING_PERIOD_DEFAULT), urgent: true });
    let raised = Millis::from_days(90);
    assert_eq!(
        key.schedules(raised, false, Time(5_000)).due,
        Time(5_000).after(raised),
        "a floor that was raised since"
    );
    assert!(!scheduled.is_due(Time(scheduled.due.0 - 1)) && scheduled.is_due(scheduled.due));

    key.schedule_destruction(scheduled, at(5_000, 7));
    version.schedule_destruction(scheduled, at(5_000, 7));
    assert_eq!((why(key.usable()), why(version.usable())), (Some(Reason::KeyDisabled), Some(Reason::KeyDisabled)));
    assert_eq!(why(key.set_enabled(true, Revision(8)).map(drop)), Some(Reason::PreconditionFailed));
    assert_eq!(why(version.set_enabled(true, Revision(8)).map(drop)), Some(Reason::PreconditionFailed));
    assert_eq!((key.set_enabled(false, Revision(8)), version.set_enabled(false, Revision(8))), (Ok(false), Ok(false)));
    assert_eq!((key.next_due(), version.wrapped.len()), (None, 1), "the material is still there");

    key.restore(at(6_000, 9)).expect("in time");
    version.restore(1, at(6_000, 9)).expect("in time");
    assert_eq!((key.enabled, version.state), (false, VersionState::Disabled), "somebody has to enable it");
    assert_eq!(why(key.restore(at(6_000, 10))), Some(Reason::PreconditionFailed));
    assert_eq!(why(version.restore(1, at(6_000, 10))), Some(Reason::PreconditionFailed));
    key.set_enabled(true, Revision(11)).expect("enables");
    version.set_enabled(true, Revision(11)).expect("enables");
    assert_eq!(key.version_usable(1, &version), Ok(()));

    version.destroy(at(7_000, 12));
    key.destroy(at(7_000, 12));
    assert_eq!(why(key.restore(at(7_000, 13))), Some(Reason::KeyDestroyed));
    assert_eq!(why(version.restore(1, at(7_000, 13))), Some(Reason::KeyDestroyed));
}

/// A backup may be older than the word that took a destruction back.
#[test]
fn after_a_restore_what_waits_waits_for_a_whole_period_again() {
    let (mut key, mut version) = key(None);
    let scheduled = ScheduledDestruction { due: Time(5_000), urgent: true };
    key.schedule_destruction(scheduled, at(1_000, 6));
    version.schedule_destruction(scheduled, at(1_000, 6));
    let (now, again) = (Time(9_000), Time(9_000).after(WAITING_PERIOD_DEFAULT));
    version.put_off(&key, DAY, now);
    key.put_off(DAY, now);
    let put_off = Some(ScheduledDestruction { due: again, urgent: true });
    assert_eq!((key.scheduled, version.scheduled()), (put_off, put_off));
    key.put_off(DAY, Time(0));
    assert_eq!(key.scheduled, put_off, "never earlier");
}

#[test]
fn a_waiting_period_is_bounded_on_both_sides() {
    let with = |period| {
        let settings = KeySettings { waiting_period: period, ..KeySettings::default() };
        let made = Key::create(KeyId([7; 16]), Algorithm::Aes256Gcm, settings, FLOORS, material(0), at(0, 1));
        made.map(|(key, _)| key.waiting_period).map_err(|refusal| refusal.reason)
    };
    assert_eq!((with(Some(DAY)), with(None)), (Ok(DAY), Ok(WAITING_PERIOD_DEFAULT)));
    for period in [Millis(DAY.0 - 1), Millis(WAITING_PERIOD_MAX.0 + 1), Millis::ZERO] {
        assert_eq!(with(Some(period)), Err(Reason::InvalidArgument));
    }
    let (mut key, version) = key(None);
    let change = |period| KeyChange { waiting_period: Some(period), ..KeyChange::default() };
    assert!(key.change(change(Millis(DAY.0 - 1)), FLOORS, &version, Revision(7)).is_err());
    key.change(change(DAY), FLOORS, &version, Revision(7)).expect("changed");
    assert_eq!(key.waiting_period, DAY);
}

#[test]
fn a_pre_active_version_is_known_before_it_is_used() {
    let why = |result: Result<(), Refusal>| result.err().map(|refusal| refusal.reason);
    let (mut key, _) = key(Some(PERIOD));
    let due = key.next_due();
    let (two, mut next) = key.add_pre_active(1, material(2), at(2_000, 6)).expect("adds");
    assert_eq!((two, key.primary, key.last_version, key.next_due()), (2, 1, 2, due));
    assert_eq!(
        (next.state, next.activated, why(next.usable())),
        (VersionState::PreActive, None, Some(Reason::KeyDisabled))
    );
    assert_eq!(why(next.set_enabled(true, Revision(7)).map(drop)), Some(Reason::PreconditionFailed));
    assert_eq!(key.add_pre_active(1, material(3), at(2_500, 7)).expect_err("seen").reason, Reason::PreconditionFailed);

    // A slip of the hand and back: what it was made for is still to come.
    next.set_enabled(false, Revision(7)).expect("disabled");
    assert_eq!(next.set_enabled(true, Revision(8)), Ok(true));
    assert_eq!(next.state, VersionState::PreActive);
    key.activate(two, &mut next, at(3_000, 8)).expect("activates");
    assert_eq!((key.primary, next.state, next.activated), (2, VersionState::Enabled, Some(Time(3_000))));
    assert_eq!(key.next_due(), Some(Time(3_000).after(PERIOD)), "the period counts from its first use");
    key.change(KeyChange::of_rotation(Some(PERIOD)), FLOORS, &next, Revision(9)).expect("set");
    assert_eq!(key.next_due(), Some(Time(3_000).after(PERIOD)));
    assert_eq!(why(key.activate(two, &mut next, at(4_000, 9))), Some(Reason::PreconditionFailed), "twice");

    // Overtaken: the primary version never goes back.
    let (three, mut late) = key.add_pre_active(2, material(3), at(4_000, 10)).expect("adds");
    key.add_version(3, RotationCause::Operator, None, material(4), at(5_000, 11)).expect("rotates");
    let before = (key.clone(), late.clone());
    assert_eq!(why(key.activate(three, &mut late, at(6_000, 12))), Some(Reason::PreconditionFailed));
    assert_eq!((key, late), before);
}

#[test]
fn versions_below_the_lowest_are_not_used() {
    let (mut key, one) = key(None);
    let (_, two) = key.add_version(1, RotationCause::Operator, None, material(2), at(2_000, 6)).expect("rotates");
    let lowest = |version| KeyChange { min_version: Some(version), ..KeyChange::default() };
    for wrong in [0, 3] {
        let refused = key.change(lowest(wrong), FLOORS, &two, Revision(7)).expect_err("none of the key's");
        assert_eq!(refused.reason, Reason::InvalidArgument);
    }
    key.change(lowest(2), FLOORS, &two, Revision(7)).expect("raised");
    assert_eq!(key.version_usable(1, &one).expect_err("below").reason, Reason::VersionTooOld);
    assert_eq!(key.version_usable(2, &two), Ok(()));
    key.change(lowest(1), FLOORS, &two, Revision(8)).expect("lowered");
    assert_eq!(key.version_usable(1, &one), Ok(()));
}

#[test]
fn rows_keep_their_stored_bytes() {
    let (key, version) = key(Some(PERIOD));
    let golden = "0707070707070707070707070707070700e80701e0d40300c8dc03010101010100008090fbd309000000000500000005";
    assert_eq!(hex::encode(postcard::to_stdvec(&key).expect("encodes")), golden);
    assert_eq!(hex::encode(postcard::to_stdvec(&version).expect("encodes")), "00e80701e80700010102010105");
    assert_eq!(postcard::from_bytes::<Key>(&postcard::to_stdvec(&key).expect("encodes")).expect("reads"), key);
}

fn counted(usage: UsagePolicy) -> (Key, KeyVersion) {
    let settings = KeySettings { usage, ..KeySettings::default() };
    Key::create(KeyId([7; 16]), Algorithm::Aes256Gcm, settings, FLOORS, material(1), at(1_000, 5)).expect("a key")
}

fn used(uses: u64) -> VersionUsage {
    VersionUsage { granted: Usage { uses, bytes: 0 }, ..VersionUsage::starting(Time(1_000)) }
}

#[test]
fn a_version_that_was_used_often_enough_makes_way() {
    let rotate_after = UsageLimits { uses: Some(1_000), bytes: None };
    let (mut key, _) = counted(UsagePolicy { rotate_after, ..UsagePolicy::default() });
    assert!(!key.is_used_up(None) && !key.is_used_up(Some(&used(999))) && key.is_used_up(Some(&used(1_000))));
    refused(&mut key, 1, RotationCause::Count, 2_000, Reason::NotDue);
    let made = key.add_version(1, RotationCause::Count, Some(&used(1_000)), material(2), at(2_000, 6));
    assert_eq!(made.map(|(number, row)| (number, row.cause)), Ok((2, RotationCause::Count)));
    // Proposed again by a leader that has not seen it: the expectation does not hold any more.
    let again = key.add_version(1, RotationCause::Count, Some(&used(1_000)), material(3), at(2_001, 7));
    assert_eq!(again.expect_err("refused").reason, Reason::NotDue);
    key.enabled = false;
    assert!(!key.is_used_up(Some(&used(9_999))));
}

#[test]
fn after_a_restore_a_version_with_a_ceiling_has_reached_it() {
    let ceiling = UsageLimits { uses: Some(10_000), bytes: None };
    let (mut key, version) = counted(UsagePolicy { ceiling, ..UsagePolicy::default() });
    let mut row = used(0);
    let least = (Usage::once(5), 3);
    assert_eq!(key.grant_use((1, &version), &mut row, least, Time(2_000)).map(|block| block.uses), Ok(416));
    key.skip_lost_versions(1, Revision(6));
    let refusal = key.grant_use((1, &version), &mut row, least, Time(2_000)).expect_err("nobody knows");
    assert_eq!(refusal.reason, Reason::UsageExhausted);
    assert!(key.is_used_up(None), "the next version is due");
    let expect = key.last_version;
    let (number, next) =
        key.add_version(expect, RotationCause::Count, None, material(2), at(2_000, 7)).expect("due after a restore");
    assert_eq!(number, 65_536);
    assert!(!key.is_used_up(None) && key.grant_use((number, &next), &mut used(0), least, Time(2_000)).is_ok());
    // Without a ceiling nothing was promised.
    let (mut free, _) = self::key(None);
    free.skip_lost_versions(1, Revision(6));
    assert!(!free.is_spent(1) && !free.is_used_up(None));
}

#[test]
fn only_what_may_be_used_is_handed_out() {
    let ceiling = UsageLimits { uses: Some(10_000), bytes: None };
    let (mut key, mut version) = counted(UsagePolicy { ceiling, ..UsagePolicy::default() });
    let why = |key: &Key, version: &KeyVersion| {
        key.grant_use((1, version), &mut used(0), (Usage::once(5), 3), Time(2_000)).map_err(|refusal| refusal.reason)
    };
    assert!(why(&key, &version).is_ok());
    version.set_enabled(false, Revision(6)).expect("disables");
    assert_eq!(why(&key, &version), Err(Reason::KeyDisabled));
    version.set_enabled(true, Revision(7)).expect("enables");
    key.min_version = 2;
    assert_eq!(why(&key, &version), Err(Reason::VersionTooOld));
    let (free, version) = self::key(None);
    assert_eq!(why(&free, &version), Err(Reason::PreconditionFailed));
}

#[test]
fn a_jitter_is_kept_until_it_is_changed_and_goes_with_its_period() {
    let (mut key, version) = key(Some(PERIOD));
    let jitter = |key: &Key| key.rotation.map(|rotation| rotation.jitter);
    let change = |jitter| KeyChange { rotation_jitter: Some(jitter), ..KeyChange::default() };
    key.change(change(Millis::from_secs(20)), FLOORS, &version, Revision(6)).expect("changes");
    assert_eq!(jitter(&key), Some(Millis::from_secs(20)));
    let longer = Some(Millis::from_secs(600));
    key.change(KeyChange::of_rotation(longer), FLOORS, &version, Revision(7)).expect("changes");
    assert_eq!(jitter(&key), Some(Millis::from_secs(20)));
    key.change(KeyChange::of_rotation(None), FLOORS, &version, Revision(8)).expect("changes");
    assert_eq!(key.rotation, None);
    let refusal = key.change(change(Millis::from_secs(20)), FLOORS, &version, Revision(9)).expect_err("no period");
    assert_eq!(refusal.reason, Reason::InvalidArgument);
    let settings = KeySettings { rotation_jitter: Millis(1), ..KeySettings::default() };
    let made = Key::create(KeyId([7; 16]), Algorithm::Aes256Gcm, settings, FLOORS, material(1), at(1_000, 5));
    assert_eq!(made.expect_err("no period").reason, Reason::InvalidArgument);
}
