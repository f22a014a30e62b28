//! Authority certificates for the simulation, made once (their signatures are random) and stored: one seed must give the
//! same run every time. `cargo test -p sim --test certificates -- --ignored` makes them anew.

use types::{Millis, Time};

/// When the simulated world begins: 2026-11-22T00:00:00Z.
pub const BEGINNING: Time = Time(1_795_305_600_000);
/// The trust domain of the certificates.
pub const TRUST_DOMAIN: &str = "sim.test";

macro_rules! stored {
    ($($number:literal)*) => {
        /// The certificates in DER, the n-th made n · 12 h after [`BEGINNING`].
        pub const AUTHORITIES: &[&[u8]] =
            &[$(include_bytes!(concat!("../testdata/authority-", $number, ".der"))),*];
    };
}

stored!("00" "01" "02" "03" "04" "05" "06" "07" "08" "09" "10" "11" "12" "13" "14" "15");

/// When the n-th was made.
#[must_use]
pub const fn made_at(number: usize) -> Time {
    BEGINNING.after(Millis::from_hours(12 * number as u64))
}

/// The NotAfter of the n-th.
#[must_use]
pub const fn ends_at(number: usize) -> Time {
    made_at(number).after(types::limits::AUTHORITY_LIFE)
}
