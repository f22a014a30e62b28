//! Reading a list to its end, page by page.

use std::future::Future;

use chancery_client::Error;

/// Items asked for at once: the most that a node gives.
pub(crate) const PAGE_SIZE: i32 = 1_000;

/// All items of a list. `fetch` is given a page token, empty at first, and returns items and the next token.
///
/// # Errors
/// The first error of a page.
pub(crate) async fn all<T, F, U>(fetch: F) -> Result<Vec<T>, Error>
where
    F: Fn(String) -> U,
    U: Future<Output = Result<(Vec<T>, String), Error>>,
{
    let (mut items, mut token) = (Vec::new(), String::new());
    loop {
        let (page, next) = fetch(token.clone()).await?;
        items.extend(page);
        // A node that repeats a token would never end.
        if next.is_empty() || next == token {
            return Ok(items);
        }
        token = next;
    }
}
