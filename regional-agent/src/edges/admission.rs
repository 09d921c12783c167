//! Which edges may link: whoever has a certificate of the mesh, unless the hub said that it left this region.
//!
//! An edge that the region has never heard of is let in: its certificate is the proof, and the hub, told of the
//! link, says if it does not belong here.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use link::{Admission, Admitted};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::AgentId;
use protocol::message::Hello;

use super::shelf::Shelf;
use crate::store::Store;

/// Asks the shelf, and the store for what is durable.
pub(super) struct EdgesOnly {
    pub(super) shelf: Arc<Shelf>,
    pub(super) store: Arc<dyn Store>,
}

impl Admission for EdgesOnly {
    fn admit<'a>(&'a self, peer: &'a AgentId, hello: &'a Hello) -> BoxFuture<'a, Result<Admitted, Refusal>> {
        async move {
            let Some(edge) = peer.edge() else {
                let message = format!("{peer} is not an edge: regions link to the hub");
                return Err(Refusal { reason: RefusalReason::OutOfScope, message, retry_after_ms: None });
            };
            // One that moved is told where to.
            if let Some(refusal) = self.shelf.removed(edge).filter(|_| !self.shelf.is_placed(edge)) {
                return Err(refusal);
            }
            // Before its first item comes, so that what it no longer has is not waited for.
            if let Err(error) = self.store.announce(peer.clone(), hello.streams.clone()).await {
                tracing::warn!(%edge, %error, "the store does not know where an edge's streams stand");
            }
            Ok(Admitted { acknowledged: self.store.acknowledged(peer.clone()).await })
        }
        .boxed()
    }
}
