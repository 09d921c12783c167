//! Public keys of version 4, and whether they made a signature.

use aws_lc_rs::digest;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters, UnparsedPublicKey,
};

use super::packet::{integer, number, padded};

/// Which hash a signature is made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(super) fn read(id: u8) -> Result<Self, String> {
        match id {
            8 => Ok(Self::Sha256),
            9 => Ok(Self::Sha384),
            10 => Ok(Self::Sha512),
            1 | 2 => {
                Err("it is made with MD5 or SHA-1, which is refused: sign with SHA-256 or better".to_owned())
            }
            other => Err(format!("its hash algorithm {other} is not known: sign with SHA-256 or SHA-512")),
        }
    }

    fn of(self, message: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message)
    }
}

#[derive(Debug, Clone)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ecdsa { curve: Curve, point: Vec<u8> },
    Ed25519(Vec<u8>),
}

#[derive(Debug, Clone, Copy)]
enum Curve {
    P256,
    P384,
    P521,
}

/// A public key, primary or not.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    /// The packet's body, as signatures speak of it.
    pub(super) body: Vec<u8>,
    /// When it was made, in seconds since 1970.
    pub(super) created: u64,
    /// SHA-1 of the body: the key's name, nothing more.
    pub(super) fingerprint: Vec<u8>,
    material: Material,
}

impl PublicKey {
    /// Reads a key; `None` for kinds that are not known here.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (version, rest) = body.split_first()?;
        if *version != 4 {
            return None;
        }
        let (created, rest) = rest.split_at_checked(4)?;
        let (algorithm, mut rest) = rest.split_first()?;
        let material = match algorithm {
            1 | 3 => {
                let modulus = integer(&mut rest)?.to_vec();
                Material::Rsa { modulus, exponent: integer(&mut rest)?.to_vec() }
            }
            19 => Material::Ecdsa { curve: curve(&mut rest)?, point: integer(&mut rest)?.to_vec() },
            22 => {
                const ED25519_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
                if object_identifier(&mut rest)? != ED25519_OID {
                    return None;
                }
                Material::Ed25519(integer(&mut rest)?.strip_prefix(&[0x40])?.to_vec())
            }
            27 => Material::Ed25519(rest.get(..32)?.to_vec()),
            _ => return None,
        };
        let mut hashed = prefixed(body)?;
        hashed.extend_from_slice(body);
        let fingerprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &hashed).as_ref().to_vec();
        Some(Self { body: body.to_vec(), created: number(created) as u64, fingerprint, material })
    }

    /// The key's name in signatures: the end of its fingerprint.
    pub(super) fn id(&self) -> &[u8] {
        &self.fingerprint[self.fingerprint.len() - 8..]
    }

    /// Whether it is too short to be trusted.
    pub(super) fn is_short(&self) -> bool {
        matches!(&self.material, Material::Rsa { modulus, .. } if modulus.len() < 256)
    }

    /// The key as signatures hash it.
    pub(super) fn hashed(&self) -> Vec<u8> {
        let mut hashed = prefixed(&self.body).unwrap_or_default();
        hashed.extend_from_slice(&self.body);
        hashed
    }

    /// Whether this key signed the message; `numbers` are the integers of the signature packet.
    pub(super) fn verifies(&self, hash: Hash, message: &[u8], mut numbers: &[u8]) -> bool {
        self.verified(hash, message, &mut numbers).unwrap_or(false)
    }

    fn verified(&self, hash: Hash, message: &[u8], numbers: &mut &[u8]) -> Option<bool> {
        Some(match &self.material {
            Material::Rsa { modulus, exponent } => {
                let signature = padded(integer(numbers)?, modulus.len())?;
                let parameters: &RsaParameters = match hash {
                    Hash::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
                    Hash::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
                };
                PublicKeyComponents { n: modulus, e: exponent }
                    .verify(parameters, message, &signature)
                    .is_ok()
            }
            Material::Ecdsa { curve, point } => {
                let (algorithm, width): (&EcdsaVerificationAlgorithm, _) = match (curve, hash) {
                    (Curve::P256, Hash::Sha256) => (&ECDSA_P256_SHA256_FIXED, 32),
                    (Curve::P384, Hash::Sha384) => (&ECDSA_P384_SHA384_FIXED, 48),
                    (Curve::P521, Hash::Sha512) => (&ECDSA_P521_SHA512_FIXED, 66),
                    _ => return None,
                };
                let mut signature = padded(integer(numbers)?, width)?;
                signature.extend(padded(integer(numbers)?, width)?);
                UnparsedPublicKey::new(algorithm, point).verify(message, &signature).is_ok()
            }
            Material::Ed25519(point) => {
                // Of version 27 the signature comes as it is, of version 22 as two integers.
                let signature = if self.body.get(5) == Some(&27) {
                    numbers.get(..64)?.to_vec()
                } else {
                    let mut signature = padded(integer(numbers)?, 32)?;
                    signature.extend(padded(integer(numbers)?, 32)?);
                    signature
                };
                UnparsedPublicKey::new(&ED25519, point).verify(hash.of(message).as_ref(), &signature).is_ok()
            }
        })
    }
}

/// What stands before a key when it is hashed.
fn prefixed(body: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(body.len()).ok()?;
    let mut prefix = vec![0x99];
    prefix.extend_from_slice(&length.to_be_bytes());
    Some(prefix)
}

fn object_identifier<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first()?;
    let (identifier, rest) = rest.split_at_checked(usize::from(*length))?;
    *bytes = rest;
    Some(identifier)
}

fn curve(bytes: &mut &[u8]) -> Option<Curve> {
    match object_identifier(bytes)? {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => Some(Curve::P256),
        [0x2b, 0x81, 0x04, 0x00, 0x22] => Some(Curve::P384),
        [0x2b, 0x81, 0x04, 0x00, 0x23] => Some(Curve::P521),
        _ => None,
    }
}
