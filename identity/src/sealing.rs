//! Sealing: content for one agent that whoever carries it cannot read (HPKE base mode, RFC 9180, with
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305).
//!
//! # Why
//! - **The sealing key follows from the device key's seed** by a derivation of its own. So there is one secret to keep,
//!   every enrolled agent has the key, it outlives renewals, and a device that enrols anew has another. A key store that
//!   does not give out the seed can bring its own [`SealingKey`].
//! - **The device key signs it**, and the join proof has bound the device key to the token: a region that relays the
//!   request cannot put its own key in the place of the device's.
//! - **The ephemeral key follows from the sealer's seed, the recipient and the content**: the same input gives the same
//!   bytes, so an unchanged Secret is not sent again. Another content has another ephemeral key and so another nonce and
//!   AEAD key; without the seed nobody can test a guess.

use std::fmt;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hmac;
use bytes::Bytes;
use protocol::id::AgentId;
use protocol::sealed::{KEY_BYTES, KEY_EXTENSION, OVERHEAD_BYTES, Sealed, ToldKey, info, key_statement};
use zeroize::Zeroizing;

use crate::key::{DeviceKey, ed25519_verifies};

/// Suites of RFC 9180, section 7: KEM 0x0020, KDF 0x0001, AEAD 0x0003.
const KEM_SUITE: &[u8] = b"KEM\x00\x20";
const HPKE_SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x03";

/// Why content cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The recipient's key is no X25519 key.
    #[error("the recipient's sealing key is not usable")]
    Key,
    /// The blob is cut off or no sealed blob.
    #[error("the content is not a sealed blob")]
    Form,
    /// The blob does not open.
    #[error("the content is sealed for another key or was altered; let this agent renew or enrol again")]
    Open,
}

/// An agent's key for opening what is sealed to it.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; KEY_BYTES]>);

impl SealingKey {
    /// The key of that device.
    pub fn of(device: &DeviceKey) -> Self {
        Self(Zeroizing::new(blake3::derive_key("skein sealing key v1", device.seed())))
    }

    /// The public half.
    pub fn public(&self) -> [u8; KEY_BYTES] {
        public(&self.0)
    }

    /// Opens what was sealed to this key for that agent.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(&self, agent: &AgentId, blob: &[u8]) -> Result<Vec<u8>, SealError> {
        let Sealed { encapsulated, ciphertext } = Sealed::read(blob).ok_or(SealError::Form)?;
        let shared = exchange(&self.0, encapsulated).ok_or(SealError::Open)?;
        let (key, nonce) = schedule(&shared, encapsulated, &self.public(), &info(agent));
        let mut content = ciphertext.to_vec();
        let length = key.open_in_place(nonce, Aad::empty(), &mut content).map_err(|_| SealError::Open)?.len();
        content.truncate(length);
        Ok(content)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", hex::encode(&self.public()[..6]))
    }
}

/// What an agent tells of its sealing key, as an extension of its requests.
pub fn told(device: &DeviceKey) -> (u16, Bytes) {
    let public = SealingKey::of(device).public();
    let signature = device.sign(&key_statement(&device.public(), &public));
    (KEY_EXTENSION, ToldKey { public, signature }.write())
}

/// The sealing key among the extensions of a request, if the device with that key vouches for it.
pub fn told_key(extensions: &protocol::Extensions, device_key: &[u8]) -> Option<ToldKey> {
    let (_, bytes) = extensions.iter().find(|(tag, _)| *tag == KEY_EXTENSION)?;
    verified_key(bytes, device_key)
}

/// The sealing key in the bytes that were kept of it, if the device with that key vouches for it.
pub fn verified_key(bytes: &[u8], device_key: &[u8]) -> Option<ToldKey> {
    let told = ToldKey::read(bytes)?;
    let statement = key_statement(device_key, &told.public);
    ed25519_verifies(device_key, &statement, &told.signature).then_some(told)
}

/// Seals content; the same content for the same recipient gives the same bytes.
#[derive(Clone)]
pub struct Sealer(Zeroizing<[u8; 32]>);

impl Sealer {
    /// A sealer whose ephemeral keys follow from this secret.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// Seals content to an agent's key.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn seal(
        &self,
        agent: &AgentId,
        recipient: &[u8; KEY_BYTES],
        content: &[u8],
    ) -> Result<Bytes, SealError> {
        let info = info(agent);
        let mut hasher = blake3::Hasher::new_derive_key("skein sealing ephemeral v1");
        hasher.update(&*self.0).update(recipient).update(blake3::hash(&info).as_bytes());
        hasher.update(blake3::hash(content).as_bytes());
        let ephemeral = Zeroizing::new(*hasher.finalize().as_bytes());
        seal(&ephemeral, recipient, &info, &[], content).ok_or(SealError::Key)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

fn seal(
    ephemeral: &[u8; 32],
    recipient: &[u8; KEY_BYTES],
    info: &[u8],
    aad: &[u8],
    content: &[u8],
) -> Option<Bytes> {
    let encapsulated = public(ephemeral);
    let shared = exchange(ephemeral, recipient)?;
    let (key, nonce) = schedule(&shared, &encapsulated, recipient, info);
    let mut ciphertext = Vec::with_capacity(content.len() + OVERHEAD_BYTES);
    ciphertext.extend_from_slice(content);
    key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut ciphertext).ok()?;
    Some(Sealed { encapsulated: &encapsulated, ciphertext: &ciphertext }.write())
}

fn private(key: &[u8; 32]) -> PrivateKey {
    PrivateKey::from_private_key(&X25519, key).expect("every 32 bytes are an X25519 key")
}

fn public(key: &[u8; 32]) -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    let public = private(key).compute_public_key().expect("an X25519 key has a public half");
    bytes.copy_from_slice(public.as_ref());
    bytes
}

/// The Diffie-Hellman secret; nothing when the other key is of small order (RFC 9180, section 7.1.4).
fn exchange(own: &[u8; 32], other: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    agree(&private(own), UnparsedPublicKey::new(&X25519, other), (), |secret| {
        Ok(Zeroizing::new(secret.to_vec()))
    })
    .ok()
}

/// Key and first nonce (RFC 9180, sections 4.1 and 5.1, base mode).
fn schedule(shared: &[u8], encapsulated: &[u8], recipient: &[u8], info: &[u8]) -> (LessSafeKey, Nonce) {
    let context = [encapsulated, recipient].concat();
    let prk = extract(KEM_SUITE, &[], b"eae_prk", shared);
    let secret = expand(KEM_SUITE, &prk, b"shared_secret", &context, 32);
    let mut context = vec![0];
    context.extend_from_slice(&extract(HPKE_SUITE, &[], b"psk_id_hash", &[]));
    context.extend_from_slice(&extract(HPKE_SUITE, &[], b"info_hash", info));
    let secret = extract(HPKE_SUITE, &secret, b"secret", &[]);
    let key = expand(HPKE_SUITE, &secret, b"key", &context, 32);
    let nonce = expand(HPKE_SUITE, &secret, b"base_nonce", &context, 12);
    let key = UnboundKey::new(&CHACHA20_POLY1305, &key).expect("the key has 32 bytes");
    let nonce = Nonce::try_assume_unique_for_key(&nonce).expect("the nonce has 12 bytes");
    (LessSafeKey::new(key), nonce)
}

/// `LabeledExtract` of RFC 9180, section 4.
fn extract(suite: &[u8], salt: &[u8], label: &[u8], input: &[u8]) -> Zeroizing<Vec<u8>> {
    hash(salt, &[b"HPKE-v1", suite, label, input])
}

/// `LabeledExpand` of RFC 9180, section 4, for at most one block.
fn expand(suite: &[u8], secret: &[u8], label: &[u8], info: &[u8], length: u8) -> Zeroizing<Vec<u8>> {
    let mut block = hash(secret, &[&[0, length], b"HPKE-v1", suite, label, info, &[1]]);
    block.truncate(usize::from(length));
    block
}

fn hash(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    Zeroizing::new(context.sign().as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// RFC 9180, A.2.1, first message: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, base mode.
    #[test]
    fn the_vector_of_the_rfc_comes_out() {
        let ephemeral = bytes("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600");
        let recipient = bytes("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
        let info = hex::decode("4f6465206f6e2061204772656369616e2055726e").unwrap();
        let content = b"Beauty is truth, truth beauty";
        let blob = seal(&ephemeral, &recipient, &info, b"Count-0", content).unwrap();
        let sealed = Sealed::read(&blob).unwrap();
        assert_eq!(
            hex::encode(sealed.encapsulated),
            "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
        );
        assert_eq!(
            hex::encode(sealed.ciphertext),
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
        );
    }

    fn device(seed: u8) -> DeviceKey {
        DeviceKey::from_seed([seed; 32])
    }

    fn agent(name: &str) -> AgentId {
        AgentId::Region(name.parse().unwrap())
    }

    #[test]
    fn only_the_recipient_opens_it_and_the_same_content_gives_the_same_bytes() {
        let (key, other) = (SealingKey::of(&device(1)), SealingKey::of(&device(2)));
        let sealer = Sealer::new([7; 32]);
        let blob = sealer.seal(&agent("eu"), &key.public(), b"hunter2").unwrap();
        assert_eq!(sealer.seal(&agent("eu"), &key.public(), b"hunter2").unwrap(), blob);
        assert_eq!(key.open(&agent("eu"), &blob).unwrap(), b"hunter2");
        assert!(!blob.windows(7).any(|part| part == b"hunter2"));
        assert_eq!(blob.len(), 7 + OVERHEAD_BYTES);
        // Another sealer, recipient, agent or content gives other keys and other bytes.
        let encapsulated = |blob: &Bytes| Sealed::read(blob).unwrap().encapsulated.to_vec();
        for another in [
            Sealer::new([8; 32]).seal(&agent("eu"), &key.public(), b"hunter2").unwrap(),
            sealer.seal(&agent("eu"), &other.public(), b"hunter2").unwrap(),
            sealer.seal(&agent("us"), &key.public(), b"hunter2").unwrap(),
            sealer.seal(&agent("eu"), &key.public(), b"hunter3").unwrap(),
        ] {
            assert_ne!(encapsulated(&another), encapsulated(&blob));
        }
        assert_eq!(other.open(&agent("eu"), &blob), Err(SealError::Open));
        assert_eq!(key.open(&agent("us"), &blob), Err(SealError::Open));
        for at in 0..blob.len() {
            let mut altered = blob.to_vec();
            altered[at] ^= 1;
            assert!(key.open(&agent("eu"), &altered).is_err(), "{at}");
            assert!(key.open(&agent("eu"), &blob[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        let sealed = Sealer::new([7; 32]).seal(&agent("eu"), &[0; 32], b"hunter2");
        assert_eq!(sealed, Err(SealError::Key));
    }

    #[test]
    fn a_told_key_counts_only_with_the_devices_own_signature() {
        let (one, region) = (device(1), device(2));
        let told = vec![told(&one)];
        let key = told_key(&told, &one.public()).unwrap();
        assert_eq!(key.public, SealingKey::of(&one).public());
        // A region that puts its own key in has to sign for a device whose key it does not have.
        let substituted = vec![(KEY_EXTENSION, super::told(&region).1)];
        assert_eq!(told_key(&substituted, &one.public()), None);
        let mixed = ToldKey { public: SealingKey::of(&region).public(), signature: key.signature };
        assert_eq!(told_key(&vec![(KEY_EXTENSION, mixed.write())], &one.public()), None);
        assert_eq!(told_key(&Vec::new(), &one.public()), None);
    }
}
