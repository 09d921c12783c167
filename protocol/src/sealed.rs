//! Content that only its recipient can read: the form of sealed blobs, and of the key they are sealed to.
//!
//! ```text
//! blob   magic (16) | encapsulated key (32) | ciphertext with tag        HPKE base mode, RFC 9180
//! key    public key (32) | signature (64)                                by the device key, over [`key_statement`]
//! ```
//! The digest that a plan names is that of the sealed blob, so whoever carries a plan learns neither the content nor
//! whether two contents are equal. No canonical JSON begins with the magic.

use bytes::Bytes;

use crate::id::AgentId;

/// What a sealed blob begins with.
pub const MAGIC: &[u8; 16] = b"\0skein sealed v1";
/// Bytes of a public or encapsulated key (X25519).
pub const KEY_BYTES: usize = 32;
/// Bytes of a signature (Ed25519).
const SIGNATURE_BYTES: usize = 64;
/// By how much a sealed blob is longer than its content: magic, encapsulated key, tag.
pub const OVERHEAD_BYTES: usize = MAGIC.len() + KEY_BYTES + 16;
/// Tag under which a request to join or to renew tells the sealing key.
pub const KEY_EXTENSION: u16 = 1;

/// A sealed blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// The encapsulated key.
    pub encapsulated: &'a [u8],
    /// The ciphertext with its tag.
    pub ciphertext: &'a [u8],
}

/// Whether a blob is sealed.
pub fn is_sealed(blob: &[u8]) -> bool {
    blob.starts_with(MAGIC)
}

impl<'a> Sealed<'a> {
    /// The parts of a blob; nothing when it is not sealed or is cut off.
    pub fn read(blob: &'a [u8]) -> Option<Self> {
        if blob.len() < OVERHEAD_BYTES {
            return None;
        }
        let (encapsulated, ciphertext) = blob.strip_prefix(MAGIC)?.split_at(KEY_BYTES);
        Some(Self { encapsulated, ciphertext })
    }

    /// The blob.
    pub fn write(&self) -> Bytes {
        Bytes::from([&MAGIC[..], self.encapsulated, self.ciphertext].concat())
    }
}

/// What a sealed object is bound to besides the key: the protocol and its recipient.
pub fn info(recipient: &AgentId) -> Vec<u8> {
    [b"skein object v1\0", recipient.to_string().as_bytes()].concat()
}

/// A sealing key as its owner tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldKey {
    /// X25519 public key.
    pub public: [u8; KEY_BYTES],
    /// The device key's signature over [`key_statement`].
    pub signature: Bytes,
}

impl ToldKey {
    /// The key in an extension's bytes, not verified.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (public, signature) = bytes.split_at_checked(KEY_BYTES)?;
        if signature.len() != SIGNATURE_BYTES {
            return None;
        }
        Some(Self { public: public.try_into().ok()?, signature: Bytes::copy_from_slice(signature) })
    }

    /// Its bytes.
    pub fn write(&self) -> Bytes {
        Bytes::from([&self.public[..], &self.signature].concat())
    }
}

/// The bytes that the device key signs to tell its sealing key.
pub fn key_statement(device_key: &[u8], public: &[u8]) -> Vec<u8> {
    crate::enrolment::statement(b"skein sealing key v1\0", &[device_key, public])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_and_keys_have_exactly_this_form() {
        let blob = Sealed { encapsulated: &[1; 32], ciphertext: &[2; 20] }.write();
        assert_eq!(&blob[..16], b"\0skein sealed v1");
        assert_eq!((blob[16], blob[47], blob[48], blob.len()), (1, 1, 2, 68));
        assert_eq!(Sealed::read(&blob), Some(Sealed { encapsulated: &[1; 32], ciphertext: &[2; 20] }));
        for cut in 0..OVERHEAD_BYTES {
            assert_eq!(Sealed::read(&blob[..cut]), None, "{cut}");
        }
        assert!(is_sealed(&blob) && !is_sealed(b"{\"kind\":\"Secret\"}"));
        let key = ToldKey { public: [3; 32], signature: Bytes::from_static(&[4; 64]) };
        assert_eq!(ToldKey::read(&key.write()), Some(key.clone()));
        assert_eq!(key.write()[..], [[3; 32].as_slice(), &[4; 64]].concat());
        assert_eq!(ToldKey::read(&key.write()[1..]), None);
        let statement = key_statement(&[5], &[6]);
        let expected =
            [&b"skein sealing key v1\0"[..], &[0, 0, 0, 0, 0, 0, 0, 1, 5], &[0, 0, 0, 0, 0, 0, 0, 1, 6]];
        assert_eq!(statement, expected.concat());
        let region = AgentId::Region("eu".parse().unwrap());
        assert_eq!(info(&region), b"skein object v1\0region/eu");
    }
}
