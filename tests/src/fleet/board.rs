//! What the edges show: as applied objects, or as status at the hub.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

use anyhow::{Context, Result};
use api::k0rdent::ServiceSet;
use futures::StreamExt;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use process::Process;
use tokio::sync::mpsc;

use super::DEADLINE;
use super::parts::SYSTEM;

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Of one edge.
    Own,
    /// Of all edges, from the start.
    All,
    /// Of all edges, from some moment on.
    New,
}

impl Service {
    /// The one that this object, or MultiClusterService, belongs to.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "all" => Self::All,
            "new" => Self::New,
            _ => Self::Own,
        }
    }
}

/// An edge shows the n-th edit of a service.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) edge: usize,
    pub(super) service: Service,
    pub(super) edit: u32,
    pub(super) at: Instant,
}

#[derive(Debug)]
pub(super) struct Board {
    news: mpsc::UnboundedReceiver<Seen>,
    shown: HashMap<(usize, Service), (u32, Instant)>,
}

impl Board {
    pub(super) fn new() -> (mpsc::UnboundedSender<Seen>, Self) {
        let (teller, news) = mpsc::unbounded_channel();
        (teller, Self { news, shown: HashMap::new() })
    }

    /// Waits until each of the edges shows the edit; when the last one did.
    pub(super) async fn wait(&mut self, edges: Range<usize>, service: Service, edit: u32) -> Result<Instant> {
        let mut last = None;
        for edge in edges {
            let at = loop {
                match self.shown.get(&(edge, service)) {
                    Some((shown, at)) if *shown >= edit => break *at,
                    _ => {}
                }
                let next = tokio::time::timeout(DEADLINE, self.news.recv()).await;
                let next = next.with_context(|| format!("edge {edge} did not show edit {edit}"))?;
                let Seen { edge, service, edit, at } = next.context("the fleet ended")?;
                self.shown.insert((edge, service), (edit, at));
            };
            last = last.max(Some(at));
        }
        last.context("no edges")
    }
}

/// Tells each edit that a ServiceSet's status shows: the hash of what is deployed changes with it.
pub(super) fn watch_status(hub: &kube::Client, told: mpsc::UnboundedSender<Seen>, process: &Process) {
    let sets = Api::<ServiceSet>::namespaced(hub.clone(), SYSTEM);
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        let mut hashes = HashMap::<(usize, Service), (String, u32)>::new();
        let mut changes = watcher(sets, watcher::Config::default()).applied_objects().boxed();
        while let Some(set) =
            tokio::select! { next = changes.next() => next, () = cancel.cancelled() => None }
        {
            let Ok(set) = set else { continue };
            let edge = set.spec.cluster.strip_prefix("edge-").and_then(|edge| edge.parse().ok());
            let state = set.status.as_ref().and_then(|status| status.services.first());
            let hash = state.and_then(|state| state.last_deployed_hash.clone());
            let (Some(edge), Some(hash)) = (edge, hash) else { continue };
            let service = Service::named(set.spec.multi_cluster_service.as_deref().unwrap_or_default());
            let edit = match hashes.get(&(edge, service)) {
                Some((known, _)) if *known == hash => continue,
                Some((_, edit)) => edit + 1,
                None => 0,
            };
            hashes.insert((edge, service), (hash, edit));
            let _ = told.send(Seen { edge, service, edit, at: Instant::now() });
        }
    });
}
