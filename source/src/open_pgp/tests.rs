//! Keys and texts that GnuPG and Helm made and signed, and what becomes of them when they are altered.

use super::*;

/// 21 November 2026: after all of them.
const NOW: u64 = 1_795_290_000;

fn data(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/open_pgp");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

fn keyring() -> Keyring {
    let mut keys = Keyring::default();
    for file in ["keys.asc", "keys.gpg", "revoked.asc"] {
        keys.add(&data(file)).unwrap();
    }
    keys
}

fn refused(name: &str, now: u64) -> String {
    signed_text(&data(name), &keyring(), now).unwrap_err()
}

#[test]
fn signatures_of_all_kinds_of_keys_count() {
    for name in ["rsa.asc", "ed.asc", "p256.asc", "p384.asc", "sub.asc", "old.asc"] {
        let text = signed_text(&data(name), &keyring(), NOW);
        // Blanks at the end of lines are not signed, so they are not given out.
        assert_eq!(text.as_deref(), Ok("- first line\n\nFrom here\nlast: \"ü\""), "{name}");
    }
    for name in ["helm-rsa.prov", "helm-ed.prov"] {
        let text = signed_text(&data(name), &keyring(), NOW).unwrap();
        assert!(text.contains("web-1.2.0.tgz: sha256:"), "{name}: {text}");
    }
}

#[test]
fn what_does_not_count_says_why() {
    assert!(refused("gone.asc", NOW).contains("it was revoked"), "{}", refused("gone.asc", NOW));
    assert!(refused("weak.asc", NOW).contains("2048 bits"), "{}", refused("weak.asc", NOW));
    assert!(refused("sha1.asc", NOW).contains("SHA-1"));
    assert!(refused("short.asc", NOW).contains("expired"));
    // 5 February 2026, within its ten days; and the day before it was made.
    assert!(signed_text(&data("short.asc"), &keyring(), 1_770_249_600).is_ok());
    assert!(refused("short.asc", 1_769_730_000).contains("in the future"));
    let mut others = Keyring::default();
    others.add(&data("keys.gpg")).unwrap();
    let error = signed_text(&data("rsa.asc"), &others, NOW).unwrap_err();
    assert!(error.contains("is not in the keyring"), "{error}");
    assert!(signed_text(b"a: 1", &keyring(), NOW).unwrap_err().contains("no signed text"));
}

#[test]
fn no_altered_byte_goes_through() {
    let whole = data("ed.asc");
    let keys = keyring();
    let good = signed_text(&whole, &keys, NOW).unwrap();
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        // Names of hashes, blanks at line ends, checksums and armor headers are not signed: then the text is the same.
        if let Ok(text) = signed_text(&altered, &keys, NOW) {
            assert_eq!(text, good, "byte {at}");
        }
        let _ = signed_text(&whole[..at], &keys, NOW);
    }
    let text = String::from_utf8(whole).unwrap();
    for (from, to) in [("From here", "From there"), ("- - first", "- first"), ("last", "- \nlast")] {
        assert!(signed_text(text.replace(from, to).as_bytes(), &keys, NOW).is_err(), "{to}");
    }
    // What stands around the signed text is no part of it.
    let before = format!("web: evil\n{text}");
    assert!(signed_text(before.as_bytes(), &keys, NOW).is_err());
    let header = text.replace("Hash: SHA512", "Hash: SHA512\nfiles: evil");
    assert!(signed_text(header.as_bytes(), &keys, NOW).is_err());
}

#[test]
fn damaged_keyrings_never_panic_and_never_gain_keys() {
    let whole = data("keys.gpg");
    for at in (0..whole.len()).step_by(7) {
        let mut altered = whole.clone();
        altered[at] ^= 0x81;
        let mut keys = Keyring::default();
        let _ = keys.add(&altered);
        let _ = Keyring::default().add(&whole[..at]);
    }
    let mut keys = Keyring::default();
    assert!(keys.add(b"nonsense").unwrap_err().contains("BEGIN PGP PUBLIC KEY BLOCK"));
    assert!(keys.add(b"-----BEGIN PGP PRIVATE KEY BLOCK-----").unwrap_err().contains("private key"));
    assert!(keys.add(b"").is_err());
}

#[test]
fn a_subkey_that_does_not_agree_signs_nothing() {
    // The signature of the subkey over its primary key is the only embedded one: spoil its last byte.
    let mut whole = data("keys.gpg");
    let mut keys = Keyring::default();
    keys.add(&whole).unwrap();
    assert!(signed_text(&data("sub.asc"), &keys, NOW).is_ok());
    let start = whole.windows(2).position(|two| two == [118, 32]).expect("the embedded signature");
    whole[start + 118] ^= 1;
    let mut spoiled = Keyring::default();
    spoiled.add(&whole).unwrap();
    let error = signed_text(&data("sub.asc"), &spoiled, NOW).unwrap_err();
    assert!(error.contains("does not say itself that it belongs"), "{error}");
}
