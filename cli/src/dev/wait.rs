//! Waiting for a condition, never for a time to pass.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::fault::Fault;

/// How often is asked.
const INTERVAL: Duration = Duration::from_millis(25);

/// What asking once came to.
pub(crate) enum Asked<T> {
    /// It is so.
    Yes(T),
    /// Not yet, and why: the last reason is told when patience ends.
    NotYet(String),
}

/// Asks until the answer is yes.
///
/// # Errors
/// When asking fails for good, or after `limit`, with the last reason.
pub(crate) async fn until<T>(
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Result<Asked<T>, Fault>,
) -> Result<T, Fault> {
    let deadline = Instant::now() + limit;
    loop {
        match ask().await? {
            Asked::Yes(answer) => return Ok(answer),
            Asked::NotYet(why) if Instant::now() >= deadline => {
                return Err(Fault::new(format!("after {} s still: {why}", limit.as_secs())));
            }
            Asked::NotYet(_) => sleep(INTERVAL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_reason_is_told_when_patience_ends() {
        let mut asked = 0;
        let answer = until::<()>(Duration::ZERO, async || {
            asked += 1;
            Ok(Asked::NotYet(format!("asked {asked} times")))
        });
        assert_eq!(answer.await.expect_err("patience ends").to_string(), "after 0 s still: asked 1 times");
    }

    #[tokio::test]
    async fn a_yes_ends_it_and_so_does_a_fault() {
        let mut asked = 0;
        let third = until(Duration::from_secs(5), async || {
            asked += 1;
            Ok(if asked == 3 { Asked::Yes(asked) } else { Asked::NotYet(String::new()) })
        });
        assert_eq!(third.await.expect("yes"), 3);
        let fault = until::<()>(Duration::from_secs(5), async || Err(Fault::new("node-1 ended")));
        assert_eq!(fault.await.expect_err("ends").to_string(), "node-1 ended");
    }
}
