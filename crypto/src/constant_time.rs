//! Comparison whose duration does not depend on where two values differ.

use subtle::ConstantTimeEq as _;

/// Whether the two are equal. Only the lengths, which are public in every use, may show in the time taken.
#[must_use]
pub fn eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn equal_only_when_equal() {
        assert!(super::eq(b"", b""));
        assert!(super::eq(b"abc", b"abc"));
        for other in [&b"abd"[..], b"bbc", b"ab", b"abcd", b""] {
            assert!(!super::eq(b"abc", other));
        }
    }
}
