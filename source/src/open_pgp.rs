//! OpenPGP signatures (RFC 4880, RFC 9580), as far as verifying a signed text needs: keyrings, cleartext signatures,
//! version 4 keys and signatures of RSA, ECDSA and Ed25519 with SHA-2.
//!
//! # Why by hand
//! Only verification is needed, of public data with public keys. The libraries for OpenPGP bring encryption, secret
//! keys and a second set of cryptographic primitives; this reads packets and lets aws-lc decide, as TLS does. What it
//! does not know it refuses: SHA-1, MD5, DSA, keys below 2048 bits, other versions, critical subpackets.

mod armor;
mod keyring;
mod packet;
mod public_key;
mod signature;

pub(crate) use keyring::Keyring;

use signature::Signature;

/// Largest keyring and signed text, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// How far the clock of whoever signs may be ahead, in seconds.
const AHEAD_MAX: u64 = 24 * 3600;

/// Reads a cleartext-signed text and verifies it with one of the keys; `now` is in seconds since 1970.
///
/// # Errors
/// What is wrong with the text, or why no signature of it counts.
pub(crate) fn signed_text(signed: &[u8], keys: &Keyring, now: u64) -> Result<String, String> {
    if signed.len() > TEXT_BYTES_MAX {
        return Err(format!("the signed text exceeds the limit of {TEXT_BYTES_MAX} bytes"));
    }
    let signed = std::str::from_utf8(signed).map_err(|_| "the signed text is not UTF-8".to_owned())?;
    let message = armor::cleartext(signed)?;
    one_counts(&message.signature, message.canonical.as_bytes(), keys, now)?;
    Ok(message.text)
}

/// Verifies an armored signature over data that stands elsewhere; `now` is in seconds since 1970.
///
/// # Errors
/// Why no signature of it counts.
pub(crate) fn detached(signature: &str, data: &[u8], keys: &Keyring, now: u64) -> Result<(), String> {
    one_counts(&armor::signature(signature)?, data, keys, now)
}

/// Whether one of the signatures in these packets counts.
fn one_counts(packets: &[u8], data: &[u8], keys: &Keyring, now: u64) -> Result<(), String> {
    let mut why = "it holds no signature".to_owned();
    for packet in packet::all(packets)?.into_iter().filter(|packet| packet.tag == packet::SIGNATURE) {
        match Signature::read(packet.body).and_then(|signature| keys.verifies(&signature, data, now)) {
            Ok(()) => return Ok(()),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests;
