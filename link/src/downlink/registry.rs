//! Which link an agent has at the moment: at most one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use identity::PeerCertificate;
use protocol::UnixMillis;
use protocol::enrolment::Refusal;
use protocol::id::AgentId;
use protocol::session::{Close, CloseCode};
use protocol::version::Speaks;
use tokio_util::sync::CancellationToken;

use crate::lanes::Live;
use crate::network::Carrier;
use crate::types::PeerState;

/// A live link.
pub(crate) struct Entry {
    pub(crate) peer: AgentId,
    pub(crate) incarnation: u64,
    pub(crate) software: String,
    pub(crate) speaks: Speaks,
    pub(crate) since: UnixMillis,
    pub(crate) certificate: PeerCertificate,
    pub(crate) live: Arc<Live>,
    /// Asks its task to end.
    pub(crate) stopping: CancellationToken,
    /// Why it shall end; the first reason stays.
    pub(crate) refusal: OnceLock<Refusal>,
    /// Its `Down` was told; nothing comes after.
    pub(crate) gone: CancellationToken,
    /// Its task is over.
    pub(crate) ended: CancellationToken,
}

impl Entry {
    pub(crate) fn stop(&self, refusal: Refusal) {
        let _ = self.refusal.set(refusal);
        self.stopping.cancel();
    }

    pub(crate) fn fail_slow(&self) {
        let reason = "the peer takes no control messages";
        self.live.carrier.fail(Close::new(CloseCode::TooSlow, reason));
    }
}

/// All live links of a listener.
#[derive(Default)]
pub(crate) struct Registry {
    entries: Mutex<BTreeMap<AgentId, Arc<Entry>>>,
}

/// What came of entering a link.
pub(crate) enum Entering {
    /// It is the agent's link now.
    Entered,
    /// Another one is in the way and has to go first.
    Supersedes(Arc<Entry>),
    /// The one there is belongs to a later run of the agent.
    Outdated,
    /// There are as many links as there may be.
    Full,
}

impl Registry {
    pub(crate) fn enter(&self, entry: &Arc<Entry>, peers_max: usize) -> Entering {
        let mut entries = self.lock();
        match entries.get(&entry.peer) {
            Some(present) if present.incarnation > entry.incarnation => Entering::Outdated,
            Some(present) => Entering::Supersedes(Arc::clone(present)),
            None if entries.len() >= peers_max => Entering::Full,
            None => {
                entries.insert(entry.peer.clone(), Arc::clone(entry));
                Entering::Entered
            }
        }
    }

    pub(crate) fn leave(&self, entry: &Arc<Entry>) {
        let mut entries = self.lock();
        if entries.get(&entry.peer).is_some_and(|present| Arc::ptr_eq(present, entry)) {
            entries.remove(&entry.peer);
        }
    }

    pub(crate) fn find(&self, peer: &AgentId) -> Option<Arc<Entry>> {
        self.lock().get(peer).cloned()
    }

    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.lock().values().cloned().collect()
    }

    /// The addresses of all peers, as QUIC has them.
    pub(crate) fn remotes(&self) -> BTreeSet<SocketAddr> {
        let remote = |entry: Arc<Entry>| entry.live.carrier.connection.remote_address();
        self.entries().into_iter().map(remote).collect()
    }

    /// The live links; addresses are as QUIC has them.
    pub(crate) fn peers(&self) -> Vec<PeerState> {
        let state = |entry: Arc<Entry>| {
            let connection = &entry.live.carrier.connection;
            PeerState {
                peer: entry.peer.clone(),
                since: entry.since,
                software: entry.software.clone(),
                speaks: entry.speaks,
                remote: connection.remote_address(),
                carrier: Carrier::Udp,
                rtt: connection.rtt(),
            }
        };
        self.entries().into_iter().map(state).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
