//! Signatures of version 4 (RFC 9580, 5.2): what they say of themselves, and what they are made over.

use super::packet::{number, subpacket_length};
use super::public_key::{Hash, PublicKey};

pub(super) const BINARY: u8 = 0x00;
pub(super) const TEXT: u8 = 0x01;
pub(super) const CERTIFICATIONS: std::ops::RangeInclusive<u8> = 0x10..=0x13;
pub(super) const SUBKEY_BINDING: u8 = 0x18;
pub(super) const PRIMARY_KEY_BINDING: u8 = 0x19;
pub(super) const DIRECT_KEY: u8 = 0x1f;
pub(super) const KEY_REVOCATION: u8 = 0x20;
pub(super) const SUBKEY_REVOCATION: u8 = 0x28;
pub(super) const CERTIFICATION_REVOCATION: u8 = 0x30;

/// The key may sign data.
const FLAG_SIGN: u8 = 0x02;

/// A signature.
#[derive(Debug, Clone, Default)]
pub(super) struct Signature {
    /// What it is for.
    pub(super) kind: u8,
    /// When it was made, in seconds since 1970.
    pub(super) created: u64,
    /// How many seconds it counts; zero is for ever.
    pub(super) expires_after: u64,
    /// How many seconds after its own making the key counts; zero is for ever.
    pub(super) key_expires_after: u64,
    /// Whether the key may sign data; `None` where it does not say.
    pub(super) may_sign: Option<bool>,
    /// A signature of the subkey over its primary key.
    pub(super) embedded: Option<Box<Signature>>,
    /// The end of the fingerprint of the key that made it.
    issuer: Option<Vec<u8>>,
    hash: Option<Hash>,
    /// What of the signature itself is signed.
    trailer: Vec<u8>,
    numbers: Vec<u8>,
}

impl Signature {
    /// Reads the body of a packet.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        Self::read_at(body, 0)
    }

    fn read_at(body: &[u8], depth: usize) -> Result<Self, String> {
        let damaged = || "the signature is damaged".to_owned();
        let [version, kind, _, hash, ..] = *body else { return Err(damaged()) };
        if version != 4 {
            return Err(format!("the signature is of version {version}: expected version 4"));
        }
        let hash = Hash::read(hash)?;
        let (length, rest) = body.get(4..).and_then(|rest| rest.split_at_checked(2)).ok_or_else(damaged)?;
        let (hashed, rest) = rest.split_at_checked(number(length)).ok_or_else(damaged)?;
        let (length, rest) = rest.split_at_checked(2).ok_or_else(damaged)?;
        let (unhashed, rest) = rest.split_at_checked(number(length)).ok_or_else(damaged)?;
        let numbers = rest.get(2..).ok_or_else(damaged)?.to_vec();
        let covered = body.get(..6 + hashed.len()).ok_or_else(damaged)?;
        let mut trailer = covered.to_vec();
        trailer.extend_from_slice(&[4, 0xff]);
        trailer.extend_from_slice(&u32::try_from(covered.len()).unwrap_or_default().to_be_bytes());
        let mut signature = Self { kind, hash: Some(hash), trailer, numbers, ..Self::default() };
        signature.subpackets(hashed, true, depth)?;
        signature.subpackets(unhashed, false, depth)?;
        Ok(signature)
    }

    /// What is not covered by the signature may only say who made it, and hold signatures that stand for themselves.
    fn subpackets(&mut self, mut bytes: &[u8], covered: bool, depth: usize) -> Result<(), String> {
        let damaged = || "the signature is damaged".to_owned();
        while !bytes.is_empty() {
            let (length, rest) = subpacket_length(bytes).ok_or_else(damaged)?;
            let (subpacket, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
            let (kind, content) = subpacket.split_first().ok_or_else(damaged)?;
            bytes = rest;
            match (kind & 0x7f, covered) {
                (2, true) => self.created = number(content) as u64,
                (3, true) => self.expires_after = number(content) as u64,
                (9, true) => self.key_expires_after = number(content) as u64,
                (16, _) => self.issuer = Some(content.to_vec()),
                (27, true) => {
                    self.may_sign = Some(content.first().is_some_and(|flags| flags & FLAG_SIGN != 0))
                }
                (32, _) if depth == 0 => {
                    self.embedded = Self::read_at(content, depth + 1).ok().map(Box::new);
                }
                (33, _) => self.issuer = content.get(content.len().saturating_sub(8)..).map(<[u8]>::to_vec),
                // Preferences, features, names: nothing that verifying hangs on.
                (4 | 7 | 10 | 11 | 20..=26 | 28..=31 | 34 | 35 | 39, _) if kind & 0x80 == 0 => {}
                (other, true) if kind & 0x80 != 0 => {
                    return Err(format!(
                        "the signature demands attention to subpacket {other}, which is not known"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the key may have made it, by what it says.
    pub(super) fn names(&self, key: &PublicKey) -> bool {
        self.issuer.as_ref().is_none_or(|issuer| issuer == key.id())
    }

    /// Who made it, as people write it.
    pub(super) fn issuer(&self) -> String {
        self.issuer.as_ref().map_or_else(|| "an unnamed key".to_owned(), hex::encode_upper)
    }

    /// Whether this key made it over these bytes.
    pub(super) fn is_by(&self, key: &PublicKey, signed: &[&[u8]]) -> bool {
        let Some(hash) = self.hash else { return false };
        let mut message = signed.concat();
        message.extend_from_slice(&self.trailer);
        self.names(key) && key.verifies(hash, &message, &self.numbers)
    }

    /// Whether it counts at this time.
    pub(super) fn counts_at(&self, now: u64) -> bool {
        self.expires_after == 0 || now < self.created.saturating_add(self.expires_after)
    }
}
