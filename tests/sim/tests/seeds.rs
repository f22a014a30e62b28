//! Thousands of seeds. `SEEDS=` how many, `SEED=` the first, `STEPS=` proposals each.
#![expect(clippy::print_stderr, reason = "a test that says how much it did")]

use sim::world::Tally;

const SEEDS: u64 = 2_000;
const STEPS: u64 = 32;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_seed_holds() {
    let (first, seeds, steps) = (setting("SEED", 1), setting("SEEDS", SEEDS), setting("STEPS", STEPS));
    let steps = usize::try_from(steps).unwrap_or(usize::MAX);
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
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
    });
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

#[test]
fn one_seed_gives_one_run() {
    let run = |seed| sim::run(seed, 80).map(|tally| format!("{tally:?}"));
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
