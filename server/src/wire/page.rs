//! Paging (AIP-158): a page size within bounds and a token that says where to go on.
//!
//! A token is the last name on the page, so it stays good while other things come and go.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use types::{Reason, Refusal, limits};

/// The page size that was asked for, within bounds.
///
/// # Errors
/// When it is negative.
pub fn size(asked: i32) -> Result<usize, Refusal> {
    match usize::try_from(asked) {
        Ok(0) => Ok(limits::PAGE_SIZE_DEFAULT),
        Ok(size) => Ok(size.min(limits::PAGE_SIZE_MAX)),
        Err(_) => Err(Refusal::new(Reason::InvalidArgument, "`page_size` must not be negative")),
    }
}

/// Reads a token.
///
/// # Errors
/// When no list gave it out.
pub fn after(token: &str) -> Result<Option<String>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(Some).ok_or_else(|| {
        Refusal::new(Reason::InvalidArgument, "`page_token` is not one that a list call returned")
    })
}

/// Cuts one more item than fits off `items`, and makes the token for what follows from the last item that stays.
pub fn cut<T>(items: &mut Vec<T>, size: usize, name: impl Fn(&T) -> String) -> String {
    if items.len() <= size {
        return String::new();
    }
    items.truncate(size);
    items.last().map(|last| URL_SAFE_NO_PAD.encode(name(last))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_and_tokens_lead_on() {
        assert_eq!(size(0), Ok(limits::PAGE_SIZE_DEFAULT));
        assert_eq!(size(i32::MAX), Ok(limits::PAGE_SIZE_MAX));
        assert!(size(-1).is_err());
        let mut items = vec!["a", "b", "c"];
        let token = cut(&mut items, 2, |item| (*item).to_owned());
        assert_eq!(items, ["a", "b"]);
        assert_eq!(after(&token), Ok(Some("b".to_owned())));
        assert_eq!(after(""), Ok(None));
        assert!(after("!").is_err());
        assert_eq!(cut(&mut items, 2, |item| (*item).to_owned()), "");
    }
}
