//! Keys: the device's for life, and the one behind a certificate.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use bytes::Bytes;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData as _};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::entropy::Entropy;

/// Bytes of an Ed25519 seed or public key.
pub const ED25519_KEY_BYTES: usize = 32;

/// What precedes an Ed25519 seed in PKCS #8 (RFC 8410, version 1).
const ED25519_PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Why a key cannot be made or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key could not be generated.
    #[error("failed to generate a {kind:?} key: {detail}")]
    Generate {
        /// Which kind.
        kind: KeyKind,
        /// What the library says.
        detail: String,
    },
    /// The bytes are not a key.
    #[error("private key is not PKCS #8 with a P-256 or Ed25519 key: {detail}")]
    Parse {
        /// What the library says.
        detail: String,
    },
    /// The signing request could not be made.
    #[error("failed to make a certificate signing request: {detail}")]
    Request {
        /// What the library says.
        detail: String,
    },
}

/// An Ed25519 key pair, made from its seed.
pub(crate) struct Ed25519 {
    seed: Zeroizing<[u8; ED25519_KEY_BYTES]>,
    pair: Ed25519KeyPair,
}

impl Ed25519 {
    pub(crate) fn from_seed(seed: [u8; ED25519_KEY_BYTES]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("every 32 bytes are an Ed25519 seed");
        Self { seed: Zeroizing::new(seed), pair }
    }

    pub(crate) fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut seed = [0; ED25519_KEY_BYTES];
        entropy.fill(&mut seed);
        Self::from_seed(seed)
    }

    pub(crate) fn seed(&self) -> &[u8; ED25519_KEY_BYTES] {
        &self.seed
    }

    pub(crate) fn public(&self) -> Bytes {
        Bytes::copy_from_slice(self.pair.public_key().as_ref())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Bytes {
        Bytes::copy_from_slice(self.pair.sign(message).as_ref())
    }
}

impl Clone for Ed25519 {
    fn clone(&self) -> Self {
        Self::from_seed(*self.seed)
    }
}

/// Whether that Ed25519 key made that signature over that message.
pub(crate) fn ed25519_verifies(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
}

/// A device's identity for life (Ed25519). Everything else an agent has can be replaced with it.
#[derive(Clone)]
pub struct DeviceKey(Ed25519);

impl DeviceKey {
    /// A new key.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        Self(Ed25519::generate(entropy))
    }

    /// The key with that seed.
    pub fn from_seed(seed: [u8; ED25519_KEY_BYTES]) -> Self {
        Self(Ed25519::from_seed(seed))
    }

    /// The seed: whoever has it is the device.
    pub fn seed(&self) -> &[u8; ED25519_KEY_BYTES] {
        self.0.seed()
    }

    /// The public key, 32 bytes.
    pub fn public(&self) -> Bytes {
        self.0.public()
    }

    /// Signs a message, 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Bytes {
        self.0.sign(message)
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", hex::encode(&self.public()[..6]))
    }
}

/// The kinds of TLS key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256, which TPMs have too.
    P256,
    /// Ed25519: signatures of constant size, made from the given entropy; for simulations.
    Ed25519,
}

/// The private key behind a certificate; replaced at each renewal.
pub struct TlsKey {
    pair: rcgen::KeyPair,
    der: Zeroizing<Vec<u8>>,
}

impl TlsKey {
    /// A new P-256 key, from the operating system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate() -> Result<Self, KeyError> {
        let kind = KeyKind::P256;
        let pair = rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| KeyError::Generate { kind, detail: error.to_string() })?;
        Ok(Self { der: Zeroizing::new(pair.serialize_der()), pair })
    }

    /// A new key of that kind.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate_kind(kind: KeyKind, entropy: &mut dyn Entropy) -> Result<Self, KeyError> {
        if kind == KeyKind::P256 {
            return Self::generate();
        }
        let mut der = Zeroizing::new(ED25519_PKCS8_PREFIX.to_vec());
        der.extend_from_slice(Ed25519::generate(entropy).seed());
        Self::from_pkcs8(&der)
    }

    /// Reads a PKCS #8 key.
    ///
    /// # Errors
    /// [`KeyError::Parse`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let key = PrivatePkcs8KeyDer::from(der);
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .or_else(|_| rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519))
            .map_err(|error| KeyError::Parse { detail: error.to_string() })?;
        Ok(Self { pair, der: Zeroizing::new(der.to_vec()) })
    }

    /// The key as PKCS #8.
    pub fn pkcs8(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the public key (`SubjectPublicKeyInfo`).
    pub fn spki_hash(&self) -> [u8; 32] {
        crate::certificate::sha256(&self.pair.subject_public_key_info())
    }

    /// A certificate signing request (DER). It asks for nothing: the issuer decides everything but the key.
    ///
    /// # Errors
    /// [`KeyError::Request`].
    pub fn signing_request(&self) -> Result<Bytes, KeyError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params
            .serialize_request(&self.pair)
            .map_err(|error| KeyError::Request { detail: error.to_string() })?;
        Ok(Bytes::copy_from_slice(request.der()))
    }

    pub(crate) fn kind(&self) -> KeyKind {
        if self.pair.algorithm() == &PKCS_ED25519 { KeyKind::Ed25519 } else { KeyKind::P256 }
    }

    pub(crate) fn pair(&self) -> &rcgen::KeyPair {
        &self.pair
    }

    pub(crate) fn rustls_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.der.to_vec()).into()
    }
}

impl Clone for TlsKey {
    fn clone(&self) -> Self {
        Self::from_pkcs8(&self.der).expect("a key that was read once reads again")
    }
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsKey({})", hex::encode(&self.spki_hash()[..6]))
    }
}
