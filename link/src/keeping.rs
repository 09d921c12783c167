//! Changes of an agent's identity, whoever makes them: durable before they are used, and none is lost to another one.

use std::sync::Arc;

use identity::{AgentIdentity, KeyStore};
use tokio::sync::watch;

use crate::uplink::error_chain;

/// Keeps and publishes the identity as `change` makes it of the present one; nothing when that has nothing to change. A
/// change that was overtaken by another one is made again, of what that one made.
///
/// # Errors
/// Why it could not be made or kept; the identity before still counts.
pub(crate) async fn amend(
    store: &Arc<dyn KeyStore>,
    identity: &watch::Sender<Arc<AgentIdentity>>,
    mut change: impl FnMut(&AgentIdentity) -> Result<Option<AgentIdentity>, String>,
) -> Result<Option<Arc<AgentIdentity>>, String> {
    loop {
        let present = Arc::clone(&identity.borrow());
        let Some(next) = change(&present)? else { return Ok(None) };
        let next = Arc::new(next);
        let (keeping, kept) = (Arc::clone(store), Arc::clone(&next));
        let stored = tokio::task::spawn_blocking(move || keeping.store(&kept)).await;
        stored.map_err(|error| error.to_string())?.map_err(|error| error_chain(&error))?;
        let is_published = identity.send_if_modified(|published| {
            let is_as_read = Arc::ptr_eq(published, &present);
            if is_as_read {
                *published = Arc::clone(&next);
            }
            is_as_read
        });
        if is_published {
            return Ok(Some(next));
        }
    }
}
