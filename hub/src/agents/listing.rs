//! Tells regions where the hub listens, and their edges where the region does: signed lists with priorities
//! ([`protocol::endpoints`]).
//!
//! One list is signed per listener and change, whoever is to have it. A region is told the hub's unless it said that it has
//! it, and its own once per link: it hands that on, and needs it signed by the key of now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use link::SendError;
use protocol::endpoints::{Endpoint, EndpointList, Known, Listener, SignedEndpoints, listed};
use protocol::id::AgentId;
use protocol::message::Control;
use tokio::sync::watch;

use super::session::{Session, Shared};

/// Where the hub listens, and the lists signed so far; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Lists {
    hub: watch::Receiver<Vec<Endpoint>>,
    signed: Arc<Mutex<BTreeMap<Listener, Signed>>>,
}

#[derive(Debug, Clone)]
struct Signed {
    endpoints: Vec<Endpoint>,
    known: Known,
    list: SignedEndpoints,
}

impl Lists {
    pub(super) fn new(hub: watch::Receiver<Vec<Endpoint>>) -> Self {
        Self { hub, signed: Arc::default() }
    }

    /// There is another key: what the one before signed is signed anew.
    pub(super) fn forget(&self) {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Shared {
    /// The endpoints of a listener, as far as they are known.
    fn endpoints(&self, of: &Listener) -> Vec<Endpoint> {
        match of {
            Listener::Hub => listed(self.lists.hub.borrow().iter().cloned()),
            Listener::Region(region) => {
                let view = self.observed.agent(&AgentId::Region(region.clone()));
                listed(view.iter().flat_map(|view| view.endpoints.iter().cloned()))
            }
        }
    }

    /// The list of a listener; nothing while it is not known where that listens.
    fn list(&self, of: Listener) -> Option<(Known, SignedEndpoints)> {
        let endpoints = self.endpoints(&of);
        if endpoints.is_empty() {
            return None;
        }
        let mut signed = self.lists.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signed) = signed.get(&of).filter(|signed| signed.endpoints == endpoints) {
            return Some((signed.known, signed.list.clone()));
        }
        let (generation, issued_at) = (self.next_generation(), self.clock.now());
        let list = EndpointList {
            of: of.clone(),
            endpoints: endpoints.clone(),
            generation,
            issued_at,
            ext: Vec::new(),
        };
        let (known, list) = (list.known(), self.authority.sign_endpoints(&list));
        signed.insert(of, Signed { endpoints, known, list: list.clone() });
        Some((known, list))
    }
}

impl Session {
    /// Tells the region where the hub listens, and for its edges where it does itself, unless it was told so.
    pub(super) async fn tell_endpoints(&self) -> Result<(), SendError> {
        for (of, edges) in [(Listener::Hub, false), (Listener::Region(self.region.clone()), true)] {
            let Some((known, list)) = self.shared.list(of) else { continue };
            if self.ledger.wants_list(edges, known) {
                self.shared.downlink.send(&self.peer, Control::Endpoints { edges, list }).await?;
                self.ledger.listed(edges, known);
            }
        }
        Ok(())
    }
}
