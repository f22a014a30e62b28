//! The fuzzer itself: that it notices what it has to notice, and does the same for the same seed.

use std::panic::catch_unwind;

use fuzz::engine::corpus::Coverage;
use fuzz::engine::mutate::{Material, mutate};
use fuzz::engine::rng::Rng;
use fuzz::engine::{Target, run};

fn mutants(seed: u64) -> Vec<Vec<u8>> {
    let (mut rng, mut input) = (Rng::new(seed), b"CHCY and what follows".to_vec());
    let material = Material {
        tokens: &[b"token"],
        other: b"another input",
        compares: &[(0x4343_4843, 0x5959_4843)],
        bytes_max: 64,
    };
    let mut next = || {
        mutate(&mut rng, &mut input, &material);
        input.clone()
    };
    (0..2_000).map(|_| next()).collect()
}

#[test]
fn one_seed_gives_one_run_within_the_bounds() {
    let one = mutants(1);
    assert_eq!(one, mutants(1));
    assert_ne!(one, mutants(2));
    assert!(one.iter().all(|input| input.len() <= 64));
    assert!(one.iter().any(|input| input.windows(5).any(|part| part == b"token")));
}

#[test]
fn the_other_side_of_a_comparison_is_tried() {
    let (mut rng, found) = (Rng::new(1), 0xdead_beef_u32.to_be_bytes());
    let material = Material { tokens: &[], other: b"", compares: &[(7, 0xdead_beef)], bytes_max: 64 };
    let tried = (0..5_000).any(|_| {
        let mut input = [&7_u32.to_be_bytes()[..], b"rest"].concat();
        mutate(&mut rng, &mut input, &material);
        input.starts_with(&found)
    });
    assert!(tried);
}

#[test]
fn what_is_new_is_new_once() {
    let mut coverage = Coverage::default();
    let mut counters = vec![0; 2_000];
    assert!(!coverage.is_new(&counters));
    counters[700] = 1;
    assert!(coverage.is_new(&counters) && !coverage.is_new(&counters));
    assert_eq!(coverage.edges, 1);
    // Twice as often is news, once more is not.
    counters[700] = 9;
    assert!(coverage.is_new(&counters));
    counters[700] = 10;
    assert!(!coverage.is_new(&counters));
    assert_eq!(coverage.edges, 1);
}

#[test]
fn an_input_that_costs_too_much_memory_is_a_finding() {
    fn greedy(input: &[u8]) {
        std::hint::black_box(vec![1_u8; usize::from(input.len() > 3) << 22]);
    }
    let target = Target::new("greedy", greedy, Vec::new);
    run::replay(&target, b"abc");
    assert!(catch_unwind(|| run::replay(&target, b"abcd")).is_err());
}
