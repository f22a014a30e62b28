//! Bad input, bad credentials, bad folders: each with its own clear answer, told to the letter.

mod credentials;
mod requests;
mod starting;
mod streams;
mod tokens;

use chancery_client::Error;

use crate::support::refusal;

/// What callers were told, one line a case, for a reviewed text.
#[derive(Default)]
struct Told(String);

impl Told {
    #[track_caller]
    fn add<T: std::fmt::Debug>(&mut self, case: &str, outcome: Result<T, Error>) {
        let (reason, text) = refusal(outcome);
        self.0.push_str(&format!("{case}: {text} ({})\n", reason.as_str()));
    }
}
