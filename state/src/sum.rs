//! The incremental hash over rows: a sum of SHA-256 values, so that one row's change costs one row, whatever the size of
//! the state.
//!
//! It finds replicas that have drifted apart and damaged snapshots. It is no signature: whoever chooses rows freely can
//! make two sums collide, so what must resist an attacker (the audit log, a sealed file) does not rest on it.

use serde::Serialize;

/// The sum modulo 2^256 of the hashes of the rows that it was given, in any order.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct RowSum([u64; 4]);

impl RowSum {
    /// Counts a row in.
    pub fn add(&mut self, table: u8, key: &impl Serialize, row: &impl Serialize) {
        self.merge(&Self::of(table, key, row));
    }

    /// Counts a row out that was counted in before.
    pub fn subtract(&mut self, table: u8, key: &impl Serialize, row: &impl Serialize) {
        let Self(other) = Self::of(table, key, row);
        let mut borrow = false;
        for (limb, other) in self.0.iter_mut().zip(other) {
            let (difference, under) = limb.overflowing_sub(other);
            let (difference, under_again) = difference.overflowing_sub(u64::from(borrow));
            *limb = difference;
            borrow = under || under_again;
        }
    }

    /// Counts in everything that another sum counted.
    pub fn merge(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, other) in self.0.iter_mut().zip(other.0) {
            let (sum, over) = limb.overflowing_add(other);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = over || over_again;
        }
    }

    /// The sum as 32 bytes, lowest first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    /// SHA-256(table ‖ key ‖ row), as a number.
    fn of(table: u8, key: &impl Serialize, row: &impl Serialize) -> Self {
        Self::of_encoded(&encode_row(table, key, row))
    }

    /// The same of a row that is encoded already.
    pub(crate) fn of_encoded(row: &[u8]) -> Self {
        let hash = crypto::hash::sha256(row);
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().zip(hash.chunks_exact(8)) {
            *limb = chunk.try_into().map(u64::from_le_bytes).unwrap_or_default();
        }
        Self(limbs)
    }
}

impl std::fmt::Debug for RowSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Room for most rows, so that a row that is encoded grows its bytes once.
const ROW_BYTES: usize = 256;

/// One row as snapshots hold it and the hash sees it: table ‖ postcard(key) ‖ postcard(row). Postcard delimits itself, so
/// no two rows have the same bytes.
pub(crate) fn encode_row(table: u8, key: &impl Serialize, row: &impl Serialize) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(ROW_BYTES);
    encoded.push(table);
    let encoded = postcard::to_extend(key, encoded).and_then(|bytes| postcard::to_extend(row, bytes));
    // Postcard fails only on sequences without a length, which no row has.
    debug_assert!(encoded.is_ok(), "a row of table {table} does not encode: {encoded:?}");
    encoded.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_count_in_any_order_and_count_out_again() {
        let (mut left, mut right) = (RowSum::default(), RowSum::default());
        for n in 0..200u32 {
            left.add(1, &n, &"row");
            right.add(1, &(199 - n), &"row");
        }
        assert_eq!(left, right);
        for n in 0..200u32 {
            left.subtract(1, &n, &"row");
        }
        assert_eq!(left, RowSum::default());
    }

    #[test]
    fn carries_and_borrows_cross_every_limb() {
        let mut sum = RowSum([u64::MAX; 4]);
        sum.merge(&RowSum([1, 0, 0, 0]));
        assert_eq!(sum, RowSum([0; 4]));
        let mut sum = RowSum([u64::MAX, 0, u64::MAX, 7]);
        sum.merge(&RowSum([u64::MAX, u64::MAX, u64::MAX, 0]));
        assert_eq!(sum, RowSum([u64::MAX - 1, 0, u64::MAX, 8]));
    }

    #[test]
    fn table_key_and_row_all_count() {
        let sum = |table, key: &str, row: &str| {
            let mut sum = RowSum::default();
            sum.add(table, &key, &row);
            sum
        };
        let one = sum(1, "ab", "c");
        for other in [sum(2, "ab", "c"), sum(1, "a", "bc"), sum(1, "ab", "d"), sum(1, "b", "c")] {
            assert_ne!(one, other);
        }
    }
}
