//! The pieces every certificate profile shares: times as X.509 writes them, and parameters with nothing left to a default.

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, SerialNumber,
};
use time::OffsetDateTime;
use time::macros::datetime;
use types::Time;

/// RFC 5280 §4.1.2.5: the date of a certificate that has no well-defined end.
const NO_END: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// A point in time in whole seconds; everything past the year 9999 is "no well-defined end".
pub(crate) fn x509_time(time: Time) -> OffsetDateTime {
    i64::try_from(time.as_unix_seconds())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .map_or(NO_END, |time| time.min(NO_END))
}

/// Parameters of a leaf: never a CA, signs handshakes only. `rcgen` would otherwise fill in a subject, a serial number
/// and dates of its own.
pub(crate) fn leaf(serial: &[u8], not_before: Time, not_after: Time, key_identifier: Vec<u8>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.distinguished_name = DistinguishedName::new();
    params.not_before = x509_time(not_before);
    params.not_after = x509_time(not_after);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_never_comes_is_the_last_one_x509_can_write() {
        assert_eq!(x509_time(Time::NEVER), NO_END);
        assert_eq!(x509_time(Time(1_999)), datetime!(1970-01-01 00:00:01 UTC));
    }
}
