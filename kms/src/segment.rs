//! The numbering of segments: a counter and a last flag in each nonce (STREAM, Hoang et al. 2015).

use crypto::aead;
use types::{Reason, Refusal, limits::SEGMENT_BYTES};

/// Bytes of a full segment with its tag.
pub(crate) const SEALED_BYTES: usize = SEGMENT_BYTES + aead::TAG_BYTES;

/// Whether a segment ends the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Inner,
    Last,
}

/// The number of the next segment.
#[derive(Debug, Default)]
pub(crate) struct Counter(u32);

impl Counter {
    pub(crate) fn is_first(&self) -> bool {
        self.0 == 0
    }

    /// The nonce of the next segment: `00 × 7 | counter | last flag`. The key belongs to this stream alone and the counter
    /// never comes back, so no nonce meets it twice; the flag makes a stream cut at a segment's end unlike a whole one.
    pub(crate) fn next(&mut self, place: Place) -> Result<[u8; aead::NONCE_BYTES], Refusal> {
        let Self(counter) = *self;
        let message = "a stream holds at most 2^32 − 1 segments of 64 KiB, split the data";
        self.0 = counter.checked_add(1).ok_or_else(|| Refusal::new(Reason::LimitExceeded, message))?;
        let [a, b, c, d] = counter.to_be_bytes();
        Ok([0, 0, 0, 0, 0, 0, 0, a, b, c, d, u8::from(place == Place::Last)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_count_up_flag_the_last_and_never_wrap() {
        let mut counter = Counter(0x0102_0304);
        assert_eq!(counter.next(Place::Inner).expect("room"), [0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0]);
        assert_eq!(counter.next(Place::Last).expect("room"), [0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 5, 1]);
        let mut counter = Counter(u32::MAX - 1);
        assert!(counter.next(Place::Inner).is_ok());
        assert_eq!(counter.next(Place::Last).expect_err("full").reason, Reason::LimitExceeded);
        assert_eq!(counter.next(Place::Last).expect_err("still full").reason, Reason::LimitExceeded);
    }
}
