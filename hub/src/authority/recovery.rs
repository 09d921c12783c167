//! The return of agents whose certificate has expired, and what is found when one disk became two.
//!
//! ```text
//!   challenge -> device key -> count on record?
//!                                 | as shown, or the same request again: written with the version that was read
//!                                 | higher: somebody returned before: quarantine, Event, refused
//! ```
//! What is kept lies in annotations of the agent's object, beside its device key: it must outlive the hub, and whoever
//! may decide about it (`kubectl annotate`) is who may edit the object.

use std::collections::BTreeMap;

use bytes::Bytes;
use identity::SystemEntropy;
use identity::recovery::{Barred, Returns, check_recovery};
use kube::runtime::events::{Event, EventType};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::AgentId;
use protocol::message::Response;
use protocol::recovery::{CHALLENGE_BYTES_MAX, RecoverGrant, RecoverRequest};
use serde::{Deserialize, Serialize};

use super::device::{self, Registered};
use super::registrar::{Denied, ROUNDS, Registrar};
use super::token::malformed;
use crate::roster::Device;

/// Annotation: the agent's returns.
const RETURNS: &str = "skein.dev/returns";
/// Annotation: whoever showed the same device key and an older count.
const QUARANTINE: &str = "skein.dev/quarantine";

/// A return as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// How many returns there were, this one included; of a refused one, how many it says there were.
    count: u64,
    /// SHA-256 of the new TLS key's public half.
    key: String,
    /// When, RFC 3339.
    at: String,
    /// From where, as far as it is known.
    from: String,
}

impl Kept {
    fn returns(&self) -> Option<Returns> {
        let mut key = [0; 32];
        hex::decode_to_slice(&self.key, &mut key).ok()?;
        Some(Returns { count: self.count, key })
    }
}

/// What an annotation keeps; nothing when somebody wrote something else there.
fn kept(annotations: &BTreeMap<String, String>, name: &str) -> Option<Kept> {
    serde_json::from_str(annotations.get(name)?).ok()
}

/// Why an agent is in quarantine: both devices, and how to decide between them.
pub(crate) fn quarantine(annotations: &BTreeMap<String, String>) -> Option<String> {
    let second = kept(annotations, QUARANTINE)?;
    let first = kept(annotations, RETURNS);
    let first = first.map_or_else(String::new, |first| {
        format!(
            " (its last return: {} from {}, key {}, return {})",
            first.at,
            first.from,
            short(&first.key),
            first.count
        )
    });
    Some(format!(
        "two devices have the device key of this agent, so one disk was copied: the one from {} with key {} was refused at {}, for it shows {} returns{first}. If the refused one is the right one, remove the annotation {RETURNS}; once the other is gone, remove {QUARANTINE}",
        second.from,
        short(&second.key),
        second.at,
        second.count,
    ))
}

/// What is on record of the device of an agent, if its key is known.
pub(crate) fn device_of(annotations: &BTreeMap<String, String>) -> Option<Device> {
    let key = device::device_key(annotations)?;
    Some(Device { key, returns: kept(annotations, RETURNS).map_or(0, |kept| kept.count) })
}

fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

impl Registrar {
    /// What an agent that wants to return is to sign. Nothing is kept and nobody is asked for it.
    pub fn challenge(&self, agent: &AgentId) -> Response {
        Response::Challenge(self.authority.challenge(agent, self.clock.now(), &mut SystemEntropy))
    }

    /// Answers a return; `from` is where the agent dialled from, as far as it is known.
    pub async fn recover(&self, from: &str, request: &RecoverRequest) -> Response {
        match self.try_recover(from, request).await {
            Ok(grant) => {
                tracing::info!(agent = %request.agent, from, returns = grant.count, "returned");
                Response::Recovered(grant)
            }
            Err(denied) => self.denied("return", denied),
        }
    }

    async fn try_recover(&self, from: &str, request: &RecoverRequest) -> Result<RecoverGrant, Denied> {
        if request.challenge.len() > CHALLENGE_BYTES_MAX {
            return Err(malformed(format!(
                "the challenge has {} bytes, at most {CHALLENGE_BYTES_MAX} are accepted",
                request.challenge.len()
            ))
            .into());
        }
        self.authority.check_challenge(&request.agent, &request.challenge, self.clock.now())?;
        let (registered, key, returns) = self.returned(from, request).await?;
        registered.keep_told(&self.client, &device::annotations(&key, &request.ext)).await?;
        let region = self.serving(&registered).await?;
        let renewed = self.renewed(&request.agent, &region, &request.csr).await?;
        Ok(RecoverGrant { renewed, region, count: returns.count, ext: Vec::new() })
    }

    /// Counts the return in the agent's object. Of two at once one finds that the other was faster.
    async fn returned(
        &self,
        from: &str,
        request: &RecoverRequest,
    ) -> Result<(Registered, Bytes, Returns), Denied> {
        for _ in 0..ROUNDS {
            let registered = self.registered(&request.agent).await?;
            let key = self.device_key_of(&registered, &request.agent)?;
            let known = kept(registered.annotations(), RETURNS).and_then(|kept| kept.returns());
            let note = |count, key: &[u8; 32]| {
                let (at, key) = (self.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), hex::encode(key));
                let kept = Kept { count, key, at, from: from.to_owned() };
                serde_json::to_string(&kept).unwrap_or_default()
            };
            match check_recovery(request, &key, known.as_ref()) {
                Ok(returns) if Some(returns) == known => return Ok((registered, key, returns)),
                Ok(returns) => {
                    let noted = BTreeMap::from([(RETURNS.to_owned(), note(returns.count, &returns.key))]);
                    if registered.annotate_as_read(&self.client, &noted).await? {
                        return Ok((registered, key, returns));
                    }
                }
                Err(Barred::Refused(refusal)) => return Err(refusal.into()),
                Err(Barred::Cloned { shown, key, known: _ }) => {
                    let noted = BTreeMap::from([(QUARANTINE.to_owned(), note(shown, &key))]);
                    return Err(self.cloned(&registered, noted, &request.agent).await?.into());
                }
            }
        }
        Err(Refusal {
            reason: RefusalReason::Unavailable,
            message: format!("the object of {} is changed by others all the time", request.agent),
            retry_after_ms: Some(1_000),
        }
        .into())
    }

    /// Shows that a disk was copied, on the agent's object and as an Event; gives what the copy is told.
    async fn cloned(
        &self,
        registered: &Registered,
        noted: BTreeMap<String, String>,
        agent: &AgentId,
    ) -> Result<Refusal, kube::Error> {
        registered.annotate(&self.client, &noted).await?;
        let told: BTreeMap<_, _> = registered.annotations().clone().into_iter().chain(noted).collect();
        let event = Event {
            type_: EventType::Warning,
            reason: "CloneRefused".to_owned(),
            note: quarantine(&told),
            action: "Recover".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.events.publish(&event, &registered.object_ref()).await {
            tracing::warn!(%agent, %error, "failed to publish an event");
        }
        let message = format!(
            "another device has returned with the device key of {agent}: this disk is a copy, or was restored from a backup"
        );
        Ok(Refusal { reason: RefusalReason::Forbidden, message, retry_after_ms: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantine_names_both_devices_and_the_way_out() {
        let kept = |count, key: &str, from: &str| {
            format!(
                r#"{{"count":{count},"key":"{}","at":"2026-11-22T00:00:00Z","from":"{from}"}}"#,
                key.repeat(32)
            )
        };
        let mut annotations = BTreeMap::from([(RETURNS.to_owned(), kept(2, "aa", "10.0.0.1:5"))]);
        assert_eq!(quarantine(&annotations), None);
        annotations.insert(QUARANTINE.to_owned(), kept(1, "bb", "10.0.0.2:5"));
        let told = quarantine(&annotations).unwrap();
        for part in [
            "10.0.0.1:5, key aaaaaaaaaaaa, return 2",
            "10.0.0.2:5 with key bbbbbbbbbbbb",
            RETURNS,
            QUARANTINE,
        ] {
            assert!(told.contains(part), "{told}");
        }
        annotations.insert(QUARANTINE.to_owned(), "somebody's words".to_owned());
        assert_eq!(quarantine(&annotations), None);
    }
}
