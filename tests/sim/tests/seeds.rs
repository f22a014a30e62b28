//! Thousands of short seeds and some long ones. `SEEDS=` and `LONG_SEEDS=` how many, `SEED=` the first, `STEPS=` proposals in a short one.
#![expect(clippy::print_stderr, clippy::panic, reason = "a test that says how much it did, and fails")]

use sim::world::Tally;

const SEEDS: u64 = 2_000;
const STEPS: u64 = 32;
const LONG_SEEDS: u64 = 50;
const LONG_STEPS: usize = 400;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs seeds on every processor.
fn tallies(first: u64, seeds: u64, steps: usize) -> Vec<Tally> {
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    std::thread::scope(|scope| {
        let worker = |number| {
            scope.spawn(move || {
                let mine = (first..first.saturating_add(seeds)).filter(|seed| seed % workers == number);
                mine.map(|seed| sim::run(seed, steps).unwrap_or_else(|what| panic!("{what}"))).collect::<Vec<_>>()
            })
        };
        let handles: Vec<_> = (0..workers).map(worker).collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().unwrap_or_else(|_| panic!("a seed failed, see above")))
            .collect()
    })
}

#[test]
fn every_seed_holds() {
    let (first, seeds, steps) = (setting("SEED", 1), setting("SEEDS", SEEDS), setting("STEPS", STEPS));
    let tallies = tallies(first, seeds, usize::try_from(steps).unwrap_or(usize::MAX));
    let total = |part: fn(&Tally) -> u64| tallies.iter().map(part).sum::<u64>();
    let [entries, accepted, stale] = [total(|t| t.entries), total(|t| t.accepted), total(|t| t.stale)];
    let [repeated, scheduled, crashes] = [total(|t| t.repeated), total(|t| t.scheduled), total(|t| t.crashes)];
    let rekeyed = total(|t| t.rekeyed);
    eprintln!(
        "{seeds} seeds: {entries} entries, {accepted} accepted, {stale} stale, {repeated} repeated, \
         {scheduled} scheduled rotations, {rekeyed} root keys replaced, {crashes} crashes"
    );
    // A simulation in which nothing happens proves nothing.
    if seeds >= 100 && steps >= 32 {
        assert!(accepted > entries / 5, "hardly anything is accepted");
        assert!(stale > 0 && repeated > 0 && scheduled > 0 && crashes > 0 && rekeyed > 0, "something never happens");
    }
}

/// What takes many steps to come about: versions that are activated, destructions that wait and are carried out or taken back.
#[test]
fn long_lives_hold() {
    let (first, seeds) = (setting("SEED", 1), setting("LONG_SEEDS", LONG_SEEDS));
    let tallies = tallies(first, seeds, LONG_STEPS);
    let total = |part: fn(&Tally) -> u64| tallies.iter().map(part).sum::<u64>();
    let [activated, ended, given_back] = [total(|t| t.activated), total(|t| t.ended), total(|t| t.given_back)];
    let [counted, exhausted] = [total(|t| t.counted), total(|t| t.exhausted)];
    eprintln!(
        "{seeds} long seeds: {activated} versions activated, {ended} destroyed after a wait, {given_back} given back, \
         {counted} rotated by count, {exhausted} times a ceiling was reached"
    );
    if seeds >= LONG_SEEDS {
        assert!(activated > 0 && ended > 0 && given_back > 0, "something never happens to keys");
        assert!(counted > 0 && exhausted > 0, "hardly anything is used");
    }
}

#[test]
fn one_seed_gives_one_run() {
    let run = |seed| sim::run(seed, 80).map(|tally| format!("{tally:?}"));
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
