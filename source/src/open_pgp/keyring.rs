//! Keys that may sign: primary keys that say so of themselves, and subkeys that both sides are bound to.

use super::packet::{self, Packet};
use super::public_key::PublicKey;
use super::signature::{
    BINARY, CERTIFICATION_REVOCATION, CERTIFICATIONS, DIRECT_KEY, KEY_REVOCATION, PRIMARY_KEY_BINDING,
    SUBKEY_BINDING, SUBKEY_REVOCATION, Signature, TEXT,
};
use super::{AHEAD_MAX, TEXT_BYTES_MAX, armor};

/// A key that may sign data.
#[derive(Debug, Clone)]
struct SigningKey {
    key: PublicKey,
    /// When it ends, in seconds since 1970; zero is never.
    ends: u64,
}

/// Keys whose signatures count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keyring {
    keys: Vec<SigningKey>,
    /// Keys that were there and may not sign, with the reason.
    refused: Vec<(Vec<u8>, &'static str)>,
}

impl Keyring {
    /// Adds the keys of a file, armored or not.
    ///
    /// # Errors
    /// Why there is no key in it.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(format!("it exceeds the limit of {TEXT_BYTES_MAX} bytes"));
        }
        let bytes = armor::keyring(bytes)?;
        let packets = packet::all(&bytes)?;
        let starts: Vec<_> = (0..packets.len()).filter(|at| packets[*at].tag == packet::PUBLIC_KEY).collect();
        if starts.is_empty() {
            return Err("it holds no public key".to_owned());
        }
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(packets.len());
            self.add_key(&packets[*start..end]);
        }
        Ok(())
    }

    /// Adds a primary key with what follows it: names, subkeys, and signatures over them.
    fn add_key(&mut self, packets: &[Packet<'_>]) {
        let Some((first, rest)) = packets.split_first() else { return };
        let Some(primary) = PublicKey::read(first.body) else { return };
        if primary.is_short() {
            self.refused.push((primary.id().to_vec(), "it is shorter than 2048 bits"));
            return;
        }
        let mut over = Over::Primary;
        let mut own: Option<Signature> = None;
        let mut revoked = false;
        let mut subkeys: Vec<Subkey> = Vec::new();
        for packet in rest {
            match packet.tag {
                packet::USER_ID => over = Over::Name(0xb4, packet.body.to_vec()),
                packet::USER_ATTRIBUTE => over = Over::Name(0xd1, packet.body.to_vec()),
                packet::PUBLIC_SUBKEY => {
                    over = Over::Subkey;
                    subkeys.push(Subkey { key: PublicKey::read(packet.body), binding: None, revoked: false });
                }
                packet::SIGNATURE => {
                    let Ok(signature) = Signature::read(packet.body) else { continue };
                    match &over {
                        Over::Primary | Over::Name(..) => match self_signature(&signature, &primary, &over) {
                            Some(Says::Valid) => newest(&mut own, signature),
                            Some(Says::Revoked) => revoked = true,
                            None => {}
                        },
                        Over::Subkey => {
                            if let Some(subkey) = subkeys.last_mut() {
                                subkey.take(signature, &primary);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        let Some(own) = own else {
            self.refused.push((primary.id().to_vec(), "it has no signature of its own over its name"));
            return;
        };
        if revoked {
            self.refused.push((primary.id().to_vec(), "it was revoked"));
            let ids = subkeys.iter().filter_map(|subkey| subkey.key.as_ref());
            self.refused.extend(ids.map(|key| (key.id().to_vec(), "its primary key was revoked")));
            return;
        }
        let ends = end_of(&primary, &own);
        for subkey in subkeys {
            match subkey.judged(&primary, ends) {
                Some(Ok(key)) => self.keys.push(key),
                Some(Err((id, why))) => self.refused.push((id, why)),
                None => {}
            }
        }
        if own.may_sign.unwrap_or(true) {
            self.keys.push(SigningKey { key: primary, ends });
        } else {
            self.refused.push((primary.id().to_vec(), "it is not meant for signing"));
        }
    }

    /// Whether one of the keys made this signature over the text, and both count.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn verifies(&self, signature: &Signature, text: &[u8], now: u64) -> Result<(), String> {
        if signature.kind != BINARY && signature.kind != TEXT {
            return Err("the signature is not one over a text".to_owned());
        }
        let named: Vec<_> = self.keys.iter().filter(|one| signature.names(&one.key)).collect();
        if named.is_empty() {
            let id = signature.issuer();
            let refused =
                self.refused.iter().find(|(refused, _)| hex::encode_upper(refused) == id).map(|(_, why)| why);
            return Err(match refused {
                Some(why) => format!("the key {id} that signed it does not count: {why}"),
                None => format!("it is signed by {id}, which is not in the keyring"),
            });
        }
        let Some(key) = named.into_iter().find(|one| signature.is_by(&one.key, &[text])) else {
            return Err(format!("its signature by {} does not fit: it was altered", signature.issuer()));
        };
        if signature.created > now.saturating_add(AHEAD_MAX) {
            return Err("its signature was made in the future: clocks differ".to_owned());
        }
        if !signature.counts_at(now) {
            return Err("its signature has expired: sign it again".to_owned());
        }
        if signature.created < key.key.created {
            return Err(format!("its signature is older than the key {}", signature.issuer()));
        }
        if key.ends != 0 && signature.created >= key.ends {
            return Err(format!("the key {} had expired when it was signed", signature.issuer()));
        }
        Ok(())
    }
}

/// What signatures speak of, by where they stand.
enum Over {
    Primary,
    Name(u8, Vec<u8>),
    Subkey,
}

enum Says {
    Valid,
    Revoked,
}

/// What a key says of itself, alone or with a name.
fn self_signature(signature: &Signature, primary: &PublicKey, over: &Over) -> Option<Says> {
    let hashed = primary.hashed();
    match over {
        Over::Primary if matches!(signature.kind, KEY_REVOCATION | DIRECT_KEY) => {
            if !signature.is_by(primary, &[&hashed]) {
                return None;
            }
            Some(if signature.kind == KEY_REVOCATION { Says::Revoked } else { Says::Valid })
        }
        Over::Name(mark, name) if CERTIFICATIONS.contains(&signature.kind) => {
            let length = u32::try_from(name.len()).ok()?.to_be_bytes();
            signature.is_by(primary, &[&hashed, &[*mark], &length, name]).then_some(Says::Valid)
        }
        // A name that was given up says nothing of the key itself.
        Over::Name(..) if signature.kind == CERTIFICATION_REVOCATION => None,
        Over::Primary | Over::Name(..) | Over::Subkey => None,
    }
}

fn newest(known: &mut Option<Signature>, signature: Signature) {
    if known.as_ref().is_none_or(|known| known.created <= signature.created) {
        *known = Some(signature);
    }
}

fn end_of(key: &PublicKey, signature: &Signature) -> u64 {
    match signature.key_expires_after {
        0 => 0,
        after => key.created.saturating_add(after),
    }
}

struct Subkey {
    key: Option<PublicKey>,
    binding: Option<Signature>,
    revoked: bool,
}

impl Subkey {
    fn take(&mut self, signature: Signature, primary: &PublicKey) {
        let Some(key) = &self.key else { return };
        if !signature.is_by(primary, &[&primary.hashed(), &key.hashed()]) {
            return;
        }
        match signature.kind {
            SUBKEY_BINDING => newest(&mut self.binding, signature),
            SUBKEY_REVOCATION => self.revoked = true,
            _ => {}
        }
    }

    /// A subkey signs when the primary key says so and the subkey agrees; else a key could claim another's signatures.
    fn judged(
        self,
        primary: &PublicKey,
        primary_ends: u64,
    ) -> Option<Result<SigningKey, (Vec<u8>, &'static str)>> {
        let (key, binding) = (self.key?, self.binding?);
        let id = key.id().to_vec();
        if self.revoked {
            return Some(Err((id, "it was revoked")));
        }
        if binding.may_sign != Some(true) {
            return Some(Err((id, "it is not meant for signing")));
        }
        let agreed = binding.embedded.as_ref().is_some_and(|back| {
            back.kind == PRIMARY_KEY_BINDING && back.is_by(&key, &[&primary.hashed(), &key.hashed()])
        });
        if !agreed {
            return Some(Err((id, "it does not say itself that it belongs to its primary key")));
        }
        let ends = match (end_of(&key, &binding), primary_ends) {
            (0, other) | (other, 0) => other,
            (one, other) => one.min(other),
        };
        Some(Ok(SigningKey { key, ends }))
    }
}
