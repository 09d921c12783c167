//! A join token as the pure check of a join sees it, and what only the hub knows to check.

use api::skein::{JoinRole, JoinToken, JoinTokenSpec, JoinTokenUse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use identity::{TokenRecord, TokenRole, TokenUse};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::RegionName;
use sha2::{Digest as _, Sha256};

/// A region may only relay joins of its own edges; regions join at the hub itself.
pub(super) fn check_via(via: Option<&RegionName>, record: &TokenRecord) -> Result<(), Refusal> {
    let out_of_scope =
        |message| Err(Refusal { reason: RefusalReason::OutOfScope, message, retry_after_ms: None });
    match (via, record.role) {
        (None, TokenRole::Region) => Ok(()),
        (Some(region), TokenRole::Edge) if *region == record.region => Ok(()),
        (Some(region), TokenRole::Edge) => out_of_scope(format!(
            "the token is for region \"{}\", this is region \"{region}\"",
            record.region
        )),
        (None, TokenRole::Edge) => {
            out_of_scope("the token is for an edge: dial its region, not the hub".to_owned())
        }
        (Some(_), TokenRole::Region) => out_of_scope("the token is for a region: dial the hub".to_owned()),
    }
}

/// A JoinToken object as the pure check sees it, when a device with that key asks.
///
/// The object keeps hashes of keys; the asking device's own hash is known, and any other will do for "another".
pub(super) fn token_record(token: &JoinToken, asking: &Bytes) -> Result<TokenRecord, Refusal> {
    let JoinTokenSpec { public_key, not_after, max_uses, revoked, region, role, name, labels, .. } =
        &token.spec;
    let uses = token.status.iter().flat_map(|status| &status.uses);
    Ok(TokenRecord {
        public_key: STANDARD.decode(public_key).map(Bytes::from).map_err(malformed)?,
        not_after: u64::try_from(not_after.0.as_millisecond()).unwrap_or_default(),
        uses_max: u32::try_from(*max_uses).unwrap_or_default(),
        uses: uses.filter_map(|used| token_use(used, asking)).collect(),
        revoked: *revoked,
        region: region.parse().map_err(malformed)?,
        role: match role {
            JoinRole::Region => TokenRole::Region,
            JoinRole::Edge => TokenRole::Edge,
        },
        name: name.clone(),
        labels: labels.clone(),
    })
}

fn token_use(used: &JoinTokenUse, asking: &Bytes) -> Option<TokenUse> {
    let agent = used.agent_id.parse().ok()?;
    let device_key = if used.spki_hash == spki_hash(asking) {
        asking.clone()
    } else {
        Bytes::from(used.spki_hash.clone().into_bytes())
    };
    Some(TokenUse { device_key, agent })
}

/// SHA-256 of an Ed25519 key's `SubjectPublicKeyInfo` (RFC 8410), in hexadecimal.
pub(super) fn spki_hash(device_key: &[u8]) -> String {
    const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    hex::encode(Sha256::new().chain_update(PREFIX).chain_update(device_key).finalize())
}

pub(super) fn malformed(error: impl std::fmt::Display) -> Refusal {
    Refusal { reason: RefusalReason::Malformed, message: error.to_string(), retry_after_ms: None }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn record(role: TokenRole) -> TokenRecord {
        TokenRecord {
            public_key: Bytes::new(),
            not_after: 0,
            uses_max: 1,
            uses: Vec::new(),
            revoked: false,
            region: "eu".parse().unwrap(),
            role,
            name: None,
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn a_region_relays_only_its_own_edges_and_joins_at_the_hub_itself() {
        let (eu, us) = ("eu".parse().unwrap(), "us".parse().unwrap());
        assert_eq!(check_via(None, &record(TokenRole::Region)), Ok(()));
        assert_eq!(check_via(Some(&eu), &record(TokenRole::Edge)), Ok(()));
        for (via, role) in
            [(Some(&us), TokenRole::Edge), (None, TokenRole::Edge), (Some(&eu), TokenRole::Region)]
        {
            assert_eq!(check_via(via, &record(role)).unwrap_err().reason, RefusalReason::OutOfScope);
        }
    }

    #[test]
    fn a_use_by_the_asking_device_is_recognised_by_its_hash() {
        let key = Bytes::from_static(&[7; 32]);
        let used = JoinTokenUse {
            agent_id: "region/eu".to_owned(),
            approval: None,
            bound_at: Time(jiff::Timestamp::UNIX_EPOCH),
            spki_hash: spki_hash(&key),
        };
        assert_eq!(token_use(&used, &key).unwrap().device_key, key);
        assert_ne!(token_use(&used, &Bytes::from_static(&[8; 32])).unwrap().device_key, [8; 32][..]);
    }
}
