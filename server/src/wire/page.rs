//! Paging (AIP-158): a page size within bounds and a token that says where to go on.
//!
//! A token names the last item of a page, so it stays good while other things come and go.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use types::{Reason, Refusal, limits};

/// The page size that was asked for, within bounds.
///
/// # Errors
/// When it is negative.
pub(crate) fn size(asked: i32) -> Result<usize, Refusal> {
    match usize::try_from(asked) {
        Ok(0) => Ok(limits::PAGE_SIZE_DEFAULT),
        Ok(size) => Ok(size.min(limits::PAGE_SIZE_MAX)),
        Err(_) => Err(Refusal::new(Reason::InvalidArgument, "`page_size` must not be negative")),
    }
}

/// Reads a token: the last name on the page before.
///
/// # Errors
/// When no list gave it out.
pub(crate) fn after<T>(token: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| parse(&text))
        .map(Some)
        .ok_or_else(|| Refusal::new(Reason::InvalidArgument, "`page_token` is not one that a list call returned"))
}

/// The token of the page that follows `last`; empty when none does.
pub(crate) fn token(last: Option<impl std::fmt::Display>) -> String {
    last.map(|last| URL_SAFE_NO_PAD.encode(last.to_string())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_and_tokens_lead_on() {
        assert_eq!(size(0), Ok(limits::PAGE_SIZE_DEFAULT));
        assert_eq!(size(i32::MAX), Ok(limits::PAGE_SIZE_MAX));
        assert!(size(-1).is_err());
        let parse = |text: &str| text.parse::<u32>().ok();
        assert_eq!(after(&token(Some(7)), parse), Ok(Some(7)));
        assert_eq!(after("", parse), Ok(None));
        assert_eq!(token(None::<u32>), "");
        for wrong in ["!", "YQ"] {
            assert!(after(wrong, parse).is_err(), "{wrong}");
        }
    }
}
