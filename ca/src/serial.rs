//! Serial numbers: random, positive and of one length (RFC 5280 §4.1.2.2; CA/Browser Forum BR §7.1 asks for 64 random bits).

/// The serial number of one certificate: 20 bytes, of which 157 bits are the caller's randomness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Serial([u8; 20]);

impl Serial {
    /// Shapes random bytes into a serial number: the first bit is cleared so that it is positive, the second set so that it
    /// is never zero nor shorter than 20 bytes.
    #[must_use]
    pub fn from_random(random: [u8; 32]) -> Self {
        let mut bytes = [0; 20];
        for (byte, random) in bytes.iter_mut().zip(random) {
            *byte = random;
        }
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x7f | 0x40;
        }
        Self(bytes)
    }

    /// Big-endian, 20 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Lowercase hexadecimal.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_positive_and_of_one_length() {
        assert_eq!(Serial::from_random([0; 32]).to_hex(), format!("40{}", "00".repeat(19)));
        assert_eq!(Serial::from_random([0xff; 32]).to_hex(), format!("7f{}", "ff".repeat(19)));
    }
}
