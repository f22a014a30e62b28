//! The committed seeds and those that the encoders make, decoded once each in an ordinary build: without coverage, with every property.
//! Targets that need a door which only `--cfg fuzzing` opens are run by `make fuzz` alone.

use std::path::Path;

use fuzz::engine::{corpus, run};
use fuzz::targets;

#[test]
fn every_seed_holds() {
    for target in targets::ALL {
        let made = (target.seeds)().into_iter().map(|input| ("made".to_owned(), input));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        let committed = corpus::read(&folder).expect("reads");
        for (name, input) in committed.into_iter().chain(made) {
            let held = std::panic::catch_unwind(|| run::replay(target, &input));
            assert!(held.is_ok(), "{}: {name}", target.name);
        }
    }
}
