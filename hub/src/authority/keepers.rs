//! Which agent has stored which trust bundle, as the agents say.
//!
//! In memory: a region says it of itself in every Hello, and of each of its edges after every connection, also of those
//! that are away. What an edge says its device key signs, so a region can hold it back, and cannot make it up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use identity::lineage::is_kept;
use protocol::id::AgentId;
use protocol::trust::TrustKept;
use tokio::sync::{Notify, watch};

use crate::roster::Roster;

/// What an agent keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keeps {
    /// Sequence of its bundle.
    pub(crate) sequence: u64,
    /// SHA-256 of the public key of the root that its certificate is by.
    pub(crate) root: [u8; 32],
}

/// What all agents keep. Clones share the content.
#[derive(Clone, Default)]
pub(crate) struct Keepers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    agents: Mutex<BTreeMap<AgentId, Keeps>>,
    changed: Notify,
    stepped: watch::Sender<()>,
}

impl Keepers {
    /// An agent says what it keeps. What an edge says counts with the signature of the device that is on record.
    pub(crate) fn hear(&self, agent: &AgentId, kept: &TrustKept, roster: &Roster) {
        let keeps = Keeps { sequence: kept.sequence, root: kept.root };
        if self.of(agent) == Some(keeps) {
            return;
        }
        if let AgentId::Edge(edge) = agent {
            let device = roster.edge(edge).and_then(|listed| listed.device.clone());
            if !device.is_some_and(|device| is_kept(kept, agent, &device.key)) {
                tracing::debug!(%agent, "what it says of its trust bundle is not by its device key");
                return;
            }
        }
        self.agents().insert(agent.clone(), keeps);
        self.0.changed.notify_one();
    }

    /// What an agent keeps; nothing when it has not said so.
    pub(crate) fn of(&self, agent: &AgentId) -> Option<Keeps> {
        self.agents().get(agent).copied()
    }

    /// Until somebody keeps something else than before.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// There is another trust bundle: agents are to hear of it.
    pub(crate) fn step(&self) {
        self.0.stepped.send_replace(());
    }

    /// Hears of each other trust bundle.
    pub(crate) fn steps(&self) -> watch::Receiver<()> {
        self.0.stepped.subscribe()
    }

    fn agents(&self) -> std::sync::MutexGuard<'_, BTreeMap<AgentId, Keeps>> {
        self.0.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use api::skein::{Edge, EdgeSpec, EdgeStatus};
    use base64::Engine as _;
    use identity::DeviceKey;
    use protocol::id::EdgeId;
    use protocol::trust::kept_statement;

    use super::*;

    fn said(agent: &AgentId, sequence: u64, device: &DeviceKey) -> TrustKept {
        let root = [1; 32];
        let proof = device.sign(&kept_statement(agent, sequence, &root));
        TrustKept { edge: agent.edge(), sequence, root, proof, ext: Vec::new() }
    }

    #[test]
    fn a_region_hands_on_what_its_edges_keep_and_cannot_make_it_up() {
        let (roster, keepers) = (Roster::default(), Keepers::default());
        let (device, agent) = (DeviceKey::from_seed([7; 32]), AgentId::Edge(EdgeId([1; 16])));
        let mut edge = Edge::new("one", EdgeSpec { region: "eu".to_owned(), ..EdgeSpec::default() });
        let key = base64::engine::general_purpose::STANDARD.encode(device.public());
        edge.metadata.annotations = Some([("skein.dev/device-key".to_owned(), key)].into());
        let agent_id = agent.edge().map(|id| id.to_string());
        edge.status = Some(EdgeStatus { agent_id, ..EdgeStatus::default() });
        roster.put_edge(&edge);
        keepers.hear(&agent, &said(&agent, 3, &DeviceKey::from_seed([8; 32])), &roster);
        let other = AgentId::Edge(EdgeId([2; 16]));
        keepers.hear(&agent, &said(&other, 3, &device), &roster);
        keepers.hear(&other, &said(&other, 3, &device), &roster);
        assert_eq!((keepers.of(&agent), keepers.of(&other)), (None, None));
        keepers.hear(&agent, &said(&agent, 2, &device), &roster);
        assert_eq!(keepers.of(&agent).map(|keeps| keeps.sequence), Some(2));
        // A disk of before is not what it was told last.
        keepers.hear(&agent, &said(&agent, 1, &device), &roster);
        assert_eq!(keepers.of(&agent).map(|keeps| keeps.sequence), Some(1));
    }
}
