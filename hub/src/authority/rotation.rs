//! Rotation of the root and of the plan-signing key: what a person asks for, when each step is due, and who is waited for.
//!
//! ```text
//!   skein ca rotate          all active agents have      skein ca rotate --retire,
//!     |                      acknowledged                and all have, with certificates by the new root
//!     v                        v                           v
//!   Introduced {A,B} ------> Changed {B,A} -------------> Steady {B}
//! ```
//! What is asked for is an annotation of the ConfigMap in which trust is published; how far it has come is in the same
//! ConfigMap. The keys of each step are written to the authority's Secret before they are used, with the version that was
//! read: a hub that crashes goes on from there, and one that does not lead any more fails. Nothing else is kept: who has
//! acknowledged what the agents say again ([`super::keepers`]).
//!
//! # Who is waited for
//! Every region and every edge that is not revoked, linked or not. `force` takes the one step after the bundle that it
//! names. Whoever was not waited for returns by itself, by the chain of bundles, unless its program is of before: that one
//! is cut off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::names::annotation;
use futures::StreamExt as _;
use identity::authority::{AuthorityError, LEAF_VALIDITY_MS};
use identity::keyring::ROTATION_BYTES_MAX;
use identity::{Keyring, Phase, Replaced, SystemEntropy};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PostParams};
use kube::runtime::events::{Event, EventType};
use kube::runtime::watcher;
use kube::{Resource as _, ResourceExt as _};
use link::DownlinkHandle;
use process::Process;
use protocol::UnixMillis;
use protocol::id::AgentId;
use serde::{Deserialize, Serialize};

use super::keep::{SECRET, TRUST, publish_rotation};
use super::keepers::Keepers;
use super::registrar::Registrar;
use crate::changes::Changes;
use crate::observed::Observed;
use crate::plans::PlanBook;
use crate::roster::Roster;

/// How often it is looked whether something is due, when nobody says so.
const LOOK: Duration = Duration::from_secs(30);
/// The least time between two looks: acknowledgements come in crowds.
const PAUSE: Duration = Duration::from_millis(200);
/// Most agents that are named in what is published; more are counted.
const NAMED_MAX: usize = 200;

/// Why a step is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    /// The API server does not do as it should.
    #[error("failed to {action} {kind} \"{name}\"")]
    Object {
        /// `read`, `replace`.
        action: &'static str,
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: &'static str,
        /// What the API server says.
        #[source]
        source: Box<kube::Error>,
    },
    /// The Secret is not the one that this hub works with.
    #[error(
        "Secret \"{SECRET}\" holds trust bundle \"{found}\", this hub works with {expected}: another one leads"
    )]
    Overtaken {
        /// Sequence in the Secret.
        found: String,
        /// Sequence here.
        expected: u64,
    },
    /// The keys cannot be made or used.
    #[error("failed to take a step of the rotation")]
    Keys(#[source] AuthorityError),
    /// The hub's own certificate cannot be shown.
    #[error("failed to show the hub's certificate by the new root")]
    Show(#[source] identity::tls::TlsError),
    /// The new bundle cannot be used here.
    #[error("failed to trust the new bundle")]
    Trust(#[source] identity::trust::TrustError),
}

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Rotate(Replaced),
    Retire,
    /// The step after the bundle of that sequence, whoever is missing.
    Force(u64),
}

/// How far a rotation has come, as it is published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// Steady, Introduced or Changed.
    pub phase: String,
    /// Sequence of the newest trust bundle.
    pub sequence: u64,
    /// What is being replaced: `root`, `plan-key`.
    pub replaces: Vec<String>,
    /// The annotation that was read last.
    pub asked: String,
    /// Why what it asks for is not done; empty when it is, or will be.
    pub refused: String,
    /// How many agents have not acknowledged what the next step waits for.
    pub missing: usize,
    /// Which: at most 200 of them.
    pub waiting_for: Vec<Missing>,
}

/// An agent that has not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// Region or Edge.
    pub kind: String,
    /// Its namespace; empty for a region.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Since when nothing was heard of it, RFC 3339; empty while it is linked, and when it never was.
    pub last_seen: String,
    /// What is missing.
    pub why: String,
}

/// Works rotations off.
pub(crate) struct Rotor {
    pub(crate) registrar: Registrar,
    pub(crate) downlink: DownlinkHandle,
    pub(crate) keepers: Keepers,
    pub(crate) roster: Roster,
    pub(crate) observed: Observed,
    pub(crate) plans: PlanBook,
    /// When the hub's own certificate is to be renewed.
    pub(crate) renew_at: UnixMillis,
    published: Option<RotationStatus>,
}

impl Rotor {
    pub(crate) fn new(
        registrar: Registrar,
        downlink: DownlinkHandle,
        keepers: Keepers,
        (roster, observed, plans): (Roster, Observed, PlanBook),
    ) -> Self {
        let renew_at = registrar.clock.now() + LEAF_VALIDITY_MS / 2;
        Self { registrar, downlink, keepers, roster, observed, plans, renew_at, published: None }
    }

    /// Looks whenever something may be due, until the process ends.
    pub(crate) async fn run(mut self, process: Process) {
        let maps = self.maps();
        let only = watcher::Config::default().fields(&format!("metadata.name={TRUST}"));
        let mut asked = watcher::watcher(maps, only).boxed();
        let mut roster: Changes<AgentId> = self.roster.subscribe();
        loop {
            tokio::select! {
                biased;
                () = process.cancel.cancelled() => return,
                () = self.keepers.changed() => {}
                _ = asked.next() => {}
                _ = roster.next() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            if let Err(error) = self.look().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the rotation of keys waits");
            }
            tokio::select! {
                () = process.cancel.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.registrar.client.clone(), self.registrar.namespace())
    }

    /// Takes the step that is due, if one is, and publishes how far it is.
    async fn look(&mut self) -> Result<(), RotationError> {
        if !self.roster.is_complete() {
            return Ok(());
        }
        let now = self.registrar.clock.now();
        if now >= self.renew_at {
            self.show(now)?;
        }
        let failed = |source| object("read", "ConfigMap", TRUST, source);
        let map = self.maps().get_opt(TRUST).await.map_err(failed)?;
        let asked = map.as_ref().and_then(|map| map.annotations().get(annotation::ROTATION).cloned());
        let asked = asked.unwrap_or_default();
        let (mut status, next) = self.judge(&asked, now)?;
        if let Some(next) = next {
            self.take(next).await?;
            status = self.judge(&asked, now)?.0;
            self.note(map, &status).await;
        }
        if self.published.as_ref() != Some(&status) && self.registrar.is_listening() {
            publish_rotation(&self.registrar, &status)
                .await
                .map_err(|source| object("apply", "ConfigMap", TRUST, source))?;
            self.published = Some(status);
        }
        Ok(())
    }

    /// How far it is, and the keys of the step that is due.
    fn judge(
        &self,
        asked: &str,
        now: UnixMillis,
    ) -> Result<(RotationStatus, Option<Keyring>), RotationError> {
        let keyring = self.registrar.authority.keyring();
        let missing = self.missing(&keyring);
        let (wanted, mut refused) = match read(asked) {
            Ok(wanted) => (wanted, String::new()),
            Err(refused) => (None, refused),
        };
        let complete = missing.is_empty() || wanted == Some(Wanted::Force(keyring.sequence()));
        let name = name_of(asked);
        let next = match (keyring.phase(), wanted) {
            (Phase::Steady, Some(Wanted::Rotate(replaced))) if keyring.rotation() != name => {
                Some(keyring.introduce(&name, replaced, now, &mut SystemEntropy))
            }
            (Phase::Introduced, _) if complete => Some(keyring.change_over()),
            (Phase::Changed, Some(Wanted::Retire | Wanted::Force(_))) if complete => Some(keyring.retire()),
            (Phase::Introduced | Phase::Changed, Some(Wanted::Rotate(_))) if keyring.rotation() != name => {
                refused = "another rotation is under way: it is to be completed first".to_owned();
                None
            }
            (Phase::Steady | Phase::Introduced | Phase::Changed, _) => None,
        };
        let replaced = keyring.replaced();
        let replaces = [(replaced.root, "root"), (replaced.plan_key, "plan-key")];
        let status = RotationStatus {
            phase: keyring.phase().as_str().to_owned(),
            sequence: keyring.sequence(),
            replaces: replaces.iter().filter(|(is, _)| *is).map(|(_, what)| (*what).to_owned()).collect(),
            asked: asked.to_owned(),
            refused,
            missing: missing.len(),
            waiting_for: missing.into_iter().take(NAMED_MAX).collect(),
        };
        Ok((status, next.transpose().map_err(RotationError::Keys)?))
    }

    /// Whoever has not acknowledged what the next step waits for.
    fn missing(&self, keyring: &Keyring) -> Vec<Missing> {
        if keyring.phase() == Phase::Steady {
            return Vec::new();
        }
        let regions = self.roster.regions().into_iter().filter_map(|region| {
            let why = self.lacks(&AgentId::Region(region.clone()), keyring)?;
            let (kind, name) = ("Region".to_owned(), region.to_string());
            let last_seen = self.last_seen(&AgentId::Region(region));
            Some(Missing { kind, namespace: String::new(), region: name.clone(), name, last_seen, why })
        });
        let edges = self.roster.edges().into_iter().filter(|edge| !edge.revoked).filter_map(|edge| {
            let agent = AgentId::Edge(edge.id);
            let why = self.lacks(&agent, keyring)?;
            Some(Missing {
                kind: "Edge".to_owned(),
                namespace: edge.namespace.clone(),
                name: edge.name.clone(),
                region: edge.region.to_string(),
                last_seen: self.last_seen(&agent),
                why,
            })
        });
        regions.chain(edges).collect()
    }

    fn lacks(&self, agent: &AgentId, keyring: &Keyring) -> Option<String> {
        let sequence = keyring.sequence();
        match self.keepers.of(agent) {
            None => Some("has not said which trust bundle it keeps".to_owned()),
            Some(keeps) if keeps.sequence < sequence => {
                Some(format!("keeps trust bundle {}, not {sequence}", keeps.sequence))
            }
            Some(keeps)
                if keyring.phase() == Phase::Changed
                    && keyring.replaced().root
                    && keeps.root != keyring.issuing() =>
            {
                Some("its certificate is by the root of before; it renews it".to_owned())
            }
            Some(_) => None,
        }
    }

    fn last_seen(&self, agent: &AgentId) -> String {
        let view = self.observed.agent(agent).filter(|view| !view.link.up && view.link.since > 0);
        let at = view.and_then(|view| jiff::Timestamp::from_millisecond(view.link.since.cast_signed()).ok());
        at.map_or_else(String::new, |at| at.to_string())
    }

    /// Writes the keys of a step, then uses them.
    async fn take(&mut self, next: Keyring) -> Result<(), RotationError> {
        let authority = Arc::clone(&self.registrar.authority);
        let secrets = Api::<Secret>::namespaced(self.registrar.client.clone(), self.registrar.namespace());
        let read = secrets.get(SECRET).await.map_err(|source| object("read", "Secret", SECRET, source))?;
        let expected = authority.keyring().sequence();
        let found = read.data.as_ref().and_then(|data| data.get("trust-sequence"));
        let found =
            found.map(|bytes| String::from_utf8_lossy(&bytes.0).trim().to_owned()).unwrap_or_default();
        if found != expected.to_string() {
            return Err(RotationError::Overtaken { found, expected });
        }
        let parts = authority.to_secret_with(&next).into_iter();
        let data: BTreeMap<_, _> = parts.map(|(part, bytes)| (part, ByteString(bytes))).collect();
        let written = Secret { data: Some(data), ..read };
        secrets
            .replace(SECRET, &PostParams::default(), &written)
            .await
            .map_err(|source| object("replace", "Secret", SECRET, source))?;
        let signs_anew = next.plan_key_id() != authority.keyring().plan_key_id();
        tracing::info!(phase = next.phase().as_str(), sequence = next.sequence(), "keys are rotated");
        authority.adopt(next);
        self.downlink.set_trust(authority.trust()).map_err(RotationError::Trust)?;
        self.show(self.registrar.clock.now())?;
        if signs_anew {
            self.plans.sign_anew();
        }
        self.keepers.step();
        self.published = None;
        Ok(())
    }

    /// Shows a fresh certificate of the hub by the root that issues.
    fn show(&mut self, now: UnixMillis) -> Result<(), RotationError> {
        let identity = self.registrar.authority.hub_identity(now, &mut SystemEntropy);
        self.downlink.set_identity(&identity.map_err(RotationError::Keys)?).map_err(RotationError::Show)?;
        self.renew_at = now + LEAF_VALIDITY_MS / 2;
        Ok(())
    }

    /// Says in an Event that a step was taken.
    async fn note(&self, map: Option<ConfigMap>, status: &RotationStatus) {
        let Some(map) = map else { return };
        let note = format!("trust bundle {}: phase {}", status.sequence, status.phase);
        let (reason, action) = ("KeysRotated".to_owned(), "Rotate".to_owned());
        let event = Event { type_: EventType::Normal, reason, note: Some(note), action, secondary: None };
        if let Err(error) = self.registrar.events.publish(&event, &map.object_ref(&())).await {
            tracing::warn!(%error, "failed to publish an event");
        }
    }
}

fn object(
    action: &'static str,
    kind: &'static str,
    name: &'static str,
    source: kube::Error,
) -> RotationError {
    RotationError::Object { action, kind, name, source: Box::new(source) }
}

/// What an annotation asks for: `rotate root TIME`, `rotate plan-key TIME`, `rotate both TIME`, `retire TIME` or
/// `force SEQUENCE TIME`; the time tells it from the one before.
fn read(asked: &str) -> Result<Option<Wanted>, String> {
    let rotate = |root, plan_key| Ok(Some(Wanted::Rotate(Replaced { root, plan_key })));
    match asked.split_whitespace().collect::<Vec<_>>()[..] {
        [] => Ok(None),
        ["rotate", "root", _] => rotate(true, false),
        ["rotate", "plan-key", _] => rotate(false, true),
        ["rotate", "both", _] => rotate(true, true),
        ["retire", _] => Ok(Some(Wanted::Retire)),
        ["force", sequence, _] if sequence.parse::<u64>().is_ok() => {
            Ok(sequence.parse().ok().map(Wanted::Force))
        }
        _ => Err(format!(
            "annotation {} is \"{asked}\", accepted are \"rotate root|plan-key|both TIME\", \"retire TIME\" and \"force SEQUENCE TIME\"",
            annotation::ROTATION
        )),
    }
}

/// What a rotation is called that was asked for by that annotation.
fn name_of(asked: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    asked.chars().map(plain).take(ROTATION_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_and_anything_else_is_answered_with_what_is_accepted() {
        let both = Replaced { root: true, plan_key: true };
        assert_eq!(read("rotate both 2026-01-01T00:00:00Z"), Ok(Some(Wanted::Rotate(both))));
        assert_eq!(read("retire 2026-01-01T00:00:00Z"), Ok(Some(Wanted::Retire)));
        assert_eq!(read("force 3 2026-01-01T00:00:00Z"), Ok(Some(Wanted::Force(3))));
        assert_eq!(read(""), Ok(None));
        for wrong in ["rotate", "rotate all now", "force now", "force x now", "burn now"] {
            let refused = read(wrong).unwrap_err();
            assert!(refused.contains(wrong) && refused.contains("accepted are"), "{refused}");
        }
        assert_eq!(name_of("rotate root 2026-01-01T00:00:00Z"), "rotate-root-2026-01-01T00-00-00Z");
    }
}
