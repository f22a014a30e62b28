//! Shamir's secret sharing over GF(256): a secret of 32 bytes as `n` shares, any `t` of which give it back and fewer of
//! which say nothing about it.
//!
//! Shares carry no authentication: a wrong one gives a wrong secret. Whoever combines them checks each share, or what
//! they open, by other means.

use blahaj::{Share as Point, Sharks};

use crate::{Secret, SecretBytes};

/// Bytes of a share's value.
pub const VALUE_BYTES: usize = 32;
/// Fewest shares that may be needed: with one, a share would be the secret.
pub const THRESHOLD_MIN: u8 = 2;

/// One share.
pub struct Share {
    /// 1 to 255; no two shares of a secret have the same.
    pub index: u8,
    /// As secret as the secret, once `t` of them meet.
    pub value: Secret<VALUE_BYTES>,
}

/// Shares that cannot be made or combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShareFault {
    /// Fewer than two needed, or more needed than made.
    #[error("{threshold} of {shares} shares cannot be: at least two must be needed, and no more than are made")]
    Threshold {
        /// How many are needed.
        threshold: u8,
        /// How many are made.
        shares: u8,
    },
    /// Not enough different shares.
    #[error("fewer shares than are needed")]
    TooFew,
}

/// Splits a secret.
///
/// # Errors
/// [`ShareFault::Threshold`].
pub fn split(secret: &Secret<32>, threshold: u8, shares: u8) -> Result<Vec<Share>, ShareFault> {
    if threshold < THRESHOLD_MIN || threshold > shares {
        return Err(ShareFault::Threshold { threshold, shares });
    }
    // The coefficients come from the operating system by way of `rand`'s thread generator, which blahaj asks itself.
    let points = Sharks(threshold).dealer(secret.expose()).take(usize::from(shares));
    points.map(|point| share_of(&point).ok_or(ShareFault::TooFew)).collect()
}

/// Gives the secret back. Shares beyond the threshold are not needed and must fit the others.
///
/// # Errors
/// [`ShareFault::TooFew`].
pub fn combine(threshold: u8, shares: &[Share]) -> Result<Secret<32>, ShareFault> {
    let points = shares.iter().map(|share| {
        let bytes = SecretBytes::from_vec([&[share.index], share.value.expose().as_slice()].concat());
        Point::try_from(bytes.expose()).map_err(|_| ShareFault::TooFew)
    });
    let points = points.collect::<Result<Vec<_>, _>>()?;
    let secret = Sharks(threshold.max(THRESHOLD_MIN)).recover(&points).map_err(|_| ShareFault::TooFew)?;
    Secret::from_slice(SecretBytes::from_vec(secret).expose()).ok_or(ShareFault::TooFew)
}

fn share_of(point: &Point) -> Option<Share> {
    let bytes = SecretBytes::from_vec(Vec::from(point));
    let (&index, value) = bytes.expose().split_first()?;
    Some(Share { index, value: Secret::from_slice(value)? })
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share {{ index: {}, .. }}", self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(shares: &[Share], indexes: &[usize]) -> Vec<Share> {
        let copy =
            |at: &usize| Share { index: shares[*at].index, value: Secret::from_bytes(*shares[*at].value.expose()) };
        indexes.iter().map(copy).collect()
    }

    #[test]
    fn any_threshold_of_them_give_the_secret_and_fewer_do_not() {
        let secret = crate::entropy::secret::<32>();
        let shares = split(&secret, 3, 5).expect("splits");
        assert_eq!(shares.iter().map(|share| share.index).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        for indexes in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
            assert_eq!(combine(3, &chosen(&shares, &indexes)).expect("combines").expose(), secret.expose());
        }
        assert_eq!(combine(3, &chosen(&shares, &[0, 1])).map(drop), Err(ShareFault::TooFew));
        assert_eq!(combine(3, &chosen(&shares, &[0, 1, 1])).map(drop), Err(ShareFault::TooFew));
        assert_eq!(combine(3, &[]).map(drop), Err(ShareFault::TooFew));
        // Two shares taken for a whole set give something else.
        assert_ne!(combine(2, &chosen(&shares, &[0, 1])).expect("combines").expose(), secret.expose());
    }

    #[test]
    fn shares_that_protect_nothing_are_not_made() {
        let secret = crate::entropy::secret::<32>();
        for (threshold, shares) in [(0, 3), (1, 3), (4, 3), (2, 1)] {
            assert_eq!(split(&secret, threshold, shares).map(drop), Err(ShareFault::Threshold { threshold, shares }));
        }
        assert_eq!(split(&secret, 255, 255).expect("splits").len(), 255);
    }

    #[test]
    fn debug_shows_no_value() {
        let secret = Secret::from_bytes([0xab; 32]);
        assert_eq!(format!("{:?}", split(&secret, 2, 2).expect("splits")[0]), "Share { index: 1, .. }");
    }
}
